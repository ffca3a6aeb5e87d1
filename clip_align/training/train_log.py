# SPDX-License-Identifier: Apache-2.0
"""Where the run is, how fast it goes, and the lines of kind ``train`` in its record."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from clip_align.errors import Problem, RunError
from clip_align.record.record import Mirror, Position, Record
from clip_align.record.schema import AnyLine
from clip_align.training.bad_sample_log import BadSampleLog
from clip_align.training.clip_module import CLIPModule
from clip_align.training.loss_check import StepLoss
from clip_align.training.stop_check import StopCheck, mean_over_ranks
from clip_align.training.timed_loader import TimedLoader

MOST_SKIPPED = 30  # running: a scaler that begins at 2^16 and halves is at 2^-14 then, where nothing more is to be had
WAITING_AFTER_S = 60.0  # of training
WAITING_FRACTION = 0.1  # of the time, more than which is worth a line
REMEMBERED = 5  # evaluations whose mean cost is that of those to come


class RunPosition:
    """Position of the run on this rank. ``cursor`` is that of the last *trained* batch.

    Args:
        global_batch: samples of one optimizer step, over all ranks and accumulated batches.
        cursor: epoch and number of the last trained batch.
        wall_before: seconds that the run had taken when it was resumed.
        step: optimizer steps that it had taken then.
    """

    def __init__(self, global_batch: int, cursor: Sequence[int], wall_before: float = 0.0, step: int = 0) -> None:
        self.global_batch, self.cursor, self.step = global_batch, cursor, step
        self._began = time.monotonic() - wall_before

    def position(self) -> Position:
        """For a line of the record."""
        wall = time.monotonic() - self._began
        return Position(self.step, self.step * self.global_batch, int(self.cursor[0]), round(wall, 3))

    def plain_cursor(self) -> list[int]:
        """The cursor as a checkpoint holds it."""
        return [int(number) for number in self.cursor]


class EvaluationCosts(Mirror):
    """What evaluations took: a mirror of the record, for the estimate of the time left."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def line(self, line: AnyLine) -> None:
        """Remember the cost of an evaluation."""
        seconds = line.get("time/evaluation_seconds")
        if isinstance(seconds, (int, float)):
            self._seconds = [*self._seconds, float(seconds)][-REMEMBERED:]

    @property
    def mean_s(self) -> float:
        """Seconds per evaluation, 0 while there was none."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0


class Stopwatch:
    """Time in training steps, without what callbacks do at their borders (evaluation, checkpoints)."""

    def __init__(self) -> None:
        self._total, self._since = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training time so far; only read while paused."""
        return self._total

    def pause(self) -> None:
        """A step is done, its callbacks begin."""
        self._total += time.perf_counter() - self._since

    def resume(self) -> None:
        """The callbacks are done, the next step begins."""
        self._since = time.perf_counter()


@dataclass(frozen=True)
class LogSchedule:
    """When to write a line, where the run ends, and the steps at which it evaluates, in order.

    advice: what to do where training waits for data.
    """

    every: int
    max_steps: int
    events: Sequence[int] = ()
    advice: str = "more data.workers read faster"

    def line_due(self, step: int) -> bool:
        """Whether a line is written after ``step``; the last one has a line too."""
        return step % self.every == 0 or step == self.max_steps

    def events_left(self, step: int) -> int:
        """Evaluations to come when ``step`` is just done; its own comes after the line of that step."""
        return len(self.events) - bisect_left(self.events, step)


def faster_data(workers: int, cores: int | None) -> str:
    """What to do where training waits for data that ``workers`` processes a rank read on a machine of ``cores``."""
    if cores is None or workers < cores:
        return f"try more data.workers ({workers} a rank now, {cores or 'an unknown number of'} cores here)"
    return (
        f"data.workers={workers} is as many as there are cores: smaller images in the shards, a faster disk, or more "
        "data.memory_mb would help"
    )


class TrainLog(pl.Callback):
    """Keeps `RunPosition` up to date and writes a train line every so many optimizer steps.

    Second of the run's callbacks, behind `StopCheck`; `Checkpoints`, the last one, starts the stopwatch again.

    Args:
        run_position: kept up to date here.
        timed_loader: counts the seconds that training waits for data, and the bad samples.
        stop_check: checks the losses before their mean is written.
        record: of the first rank, None on the others.
        evaluation_costs: seconds that evaluations take, for the estimate of the time left.
        log_schedule: the steps of the lines, and the last step.
    """

    def __init__(
        self,
        run_position: RunPosition,
        timed_loader: TimedLoader,
        stop_check: StopCheck,
        record: Record | None,
        evaluation_costs: EvaluationCosts,
        log_schedule: LogSchedule,
    ) -> None:
        self.run_position, self.timed_loader, self.stop_check = run_position, timed_loader, stop_check
        self.record, self.evaluation_costs, self.log_schedule = record, evaluation_costs, log_schedule
        self.stopwatch, self.bad_sample_log = Stopwatch(), BadSampleLog(getattr(timed_loader.loader, "tally", None))
        self.whole = False  # the last step is done and the next one has not begun
        self.not_finite = False  # a loss was not
        self._skipped_reported, self._waiting_reported = 0, False
        self._sum, self._count = 0.0, 0
        self._last = (run_position.step, 0.0, 0.0)  # step, training seconds and seconds waited at the last line

    def take(self, losses: list[StepLoss]) -> None:
        """Losses of this rank that were just read from the device; their mean goes into the next line."""
        self._sum += sum(loss.value for loss in losses)
        self._count += len(losses)

    def refused(self, bad: StepLoss) -> None:
        """A loss that is no number ends the run; all its samples go into the record."""
        message = f"train/loss is {bad.value} at step {bad.step}, from a batch of {len(bad.keys)} samples"
        self.not_finite = True
        self._event({"event": "not_finite", "message": message, "step": bad.step, "keys": list(bad.keys)})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What all ranks had to skip."""
        self._event(self.bad_sample_log.total(self.stop_check.ranks))  # a gather: every rank comes here

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """From here to the end of the optimizer step the state is not whole."""
        self.whole = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Note the position; at a logging step, write a line."""
        self.stopwatch.pause()  # before anything else here: what callbacks do is no training
        if trainer.global_step == self.run_position.step:
            return  # more batches of this optimizer step to come
        self.run_position.step, self.run_position.cursor = trainer.global_step, batch["cursor"]
        # from here to the next batch weights, optimizer and cursor belong together
        self.whole = True
        if self.log_schedule.line_due(self.run_position.step):
            self._write(pl_module)
        self._look_at_skipped(pl_module)

    def _write(self, module: Any) -> None:
        self.stop_check.check_losses()  # hands the losses since the last check to `take`
        loss = mean_over_ranks(self._sum / self._count)  # a collective: outside `if self.record`, which only rank 0 has
        if self.record is not None:
            self.record.append("train", self.run_position.position(), {**self._measured(module, loss), **self._times()})
            self._event(self.bad_sample_log.news())
            self._event(self.bad_sample_log.filtered())
            self._look_at_waiting()
        self._sum, self._count = 0.0, 0
        self._last = (self.run_position.step, self.stopwatch.seconds, self.timed_loader.waited)

    def _look_at_skipped(self, module: Any) -> None:
        """Steps that the gradient scaler has skipped: an event when they double; RunError when they do not end."""
        if module.skipped_running >= MOST_SKIPPED:
            first = self.run_position.step - module.skipped_running + 1
            what = (
                f"the gradient scaler has skipped {module.skipped_running} optimizer steps running "
                f"(steps {first} to {self.run_position.step}): gradients overflow float16 at every scale; take "
                "trainer.precision=bf16-mixed, or a lower optimizer.lr"
            )
            error = RunError(Problem("trainer.precision", what))
            # gradients are reduced before the scaler looks: every rank has skipped the same steps
            error.on_all_ranks = True
            raise error
        if module.skipped >= max(1, 2 * self._skipped_reported):
            self._skipped_reported = module.skipped
            steps = (
                f"{module.skipped:,} optimizer step{'s' if module.skipped > 1 else ''} of {self.run_position.step:,}"
            )
            message = (
                f"16-mixed: {steps} skipped so far (a gradient overflowed float16): weights and learning rate stay as "
                "they were"
            )
            self._event({"event": "skipped_steps", "message": message, "skipped_steps": module.skipped})

    def _look_at_waiting(self) -> None:
        """Record once that data come too slowly: a minute in, when what is opened and decoded once no longer counts."""
        seconds, waited = self.stopwatch.seconds, self.timed_loader.waited
        if self._waiting_reported or seconds < WAITING_AFTER_S or waited <= WAITING_FRACTION * seconds:
            return
        self._waiting_reported = True
        fraction = min(1.0, waited / seconds)
        self._event(
            {
                "event": "waiting",
                "message": f"data: training has waited for data {fraction:.0%} of the time so far; "
                f"{self.log_schedule.advice}",
                "fraction": fraction,
            }
        )

    def _event(self, event: Mapping[str, Any] | None) -> None:
        if self.record is not None and event is not None:
            self.record.append("event", self.run_position.position(), event)

    def _measured(self, module: CLIPModule, loss: float) -> dict[str, float]:
        """What the module knows about its last step; two or three numbers off the device."""
        norm, bias = module.grad_norm, getattr(module.loss, "logit_bias", None)  # SigLIP's
        return {
            "train/loss": loss,
            "train/logit_scale": float(module.model.logit_scale.detach().exp()),
            **({} if bias is None else {"train/logit_bias": float(bias.detach())}),
            "train/lr": module.rate,
            "train/grad_norm": float(norm) if norm is not None else float("nan"),  # nan: recorded as null
            **({"train/skipped_steps": module.skipped} if module.skipped else {}),
        }

    def _times(self) -> dict[str, float]:
        step, trained, waited = self._last
        seconds = max(1e-9, self.stopwatch.seconds - trained)  # a clock may not have moved between two lines
        steps = max(1, self.run_position.step - step)
        left = self.log_schedule.max_steps - self.run_position.step
        return {
            "time/samples_per_second": steps * self.run_position.global_batch / seconds,
            "time/data_wait_fraction": min(1.0, (self.timed_loader.waited - waited) / seconds),
            "time/left_seconds": left * seconds / steps
            + self.log_schedule.events_left(self.run_position.step) * self.evaluation_costs.mean_s,
        }
