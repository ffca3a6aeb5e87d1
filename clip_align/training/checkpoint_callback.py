# SPDX-License-Identifier: Apache-2.0
"""When checkpoints are saved, and what they hold: at the border of a step, by all ranks together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from clip_align.callbacks.trainer.best_checkpoint import beats, best_file
from clip_align.config import CheckpointConfig
from clip_align.errors import RunError
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.training.checkpoint_files import OWN, point_last, step_file, step_files, step_of
from clip_align.training.checkpoint_writer import CheckpointWriter, Order
from clip_align.training.kept_steps import is_kept
from clip_align.training.loss_check import finite_weights, first_bad
from clip_align.training.stop_check import StopCheck
from clip_align.training.train_log import TrainLog


class Checkpoints(pl.Callback):
    """Last of the run's callbacks: saves every so many steps, on a logarithmic scale, at the last step, when stopping.

    Args:
        folder: of the files.
        settings: how often, and how many stay; ``every_n_steps`` None: at the last step, and those kept for study.
        carried: what every file holds besides the state of training (config as plain python, words, …).
        ranks: of this run; all of them save together, the first one writes.
        stop_check: knows of signals, and checks the losses before a save.
        train_log: knows the step, and whether it is whole.
        record: of the first rank, None on the others.
        higher_is_better: which values of ``settings.best`` are; None where no callback writes it: no such file then.
        resume_with: what to type to resume this run, shown after a save that ends it.
    """

    def __init__(
        self,
        folder: Path,
        settings: CheckpointConfig,
        carried: Mapping[str, Any],
        ranks: Ranks,
        stop_check: StopCheck,
        train_log: TrainLog,
        record: Record | None,
        higher_is_better: bool | None = True,
        resume_with: str = "",
    ) -> None:
        self.folder, self.settings, self.carried = folder, settings, dict(carried)
        self.best_key, self.higher_is_better = settings.best, higher_is_better
        self.writer = CheckpointWriter(settings.background)  # the Trainer's plugin
        self.ranks, self.stop_check, self.train_log = ranks, stop_check, train_log
        self.record, self.resume_with = record, resume_with
        self.last_evaluated: int | None = None
        self.best: tuple[float, int] | None = None  # value and step
        self._saved = -1  # step of the last checkpoint, so that none is saved twice
        self._failing = False  # the last attempt to write a file failed
        self._trainer: pl.Trainer | None = None

    @property
    def newest(self) -> str | None:
        """Name of the newest checkpoint, for messages; waits for one that is being written."""
        self.note(wait=True)
        files = step_files(self.folder)
        return str(files[-1]) if files else None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The first evaluation may want to save before training starts."""
        self._trainer = trainer

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A stop may have come during the first evaluation."""
        self._saved = self.train_log.run_position.step  # there is nothing to keep before the next step is whole
        if self.stop_check.stopping is not None:
            self._save_step(now=True)
            self.advise()
        self.train_log.stopwatch.resume()  # preparation and the first evaluation are no training

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save when it is time; then the next step begins."""
        self.note()
        step, stopping = self.train_log.run_position.step, self.stop_check.stopping is not None
        every, last = self.settings.every_n_steps, step == trainer.max_steps
        due = last or stopping or (every is not None and step % every == 0)
        due = due or is_kept(step, self.settings.keep_per_octave)
        if due and step != self._saved:
            self._save_step(now=stopping or last)
        if stopping:
            self.advise()
        self.train_log.stopwatch.resume()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing is under way when training has ended."""
        self.note(wait=True)

    def evaluated(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Listener of evaluations, on all ranks: keeps the weights whose score is the best so far."""
        self.last_evaluated = step
        value = scores.get(self.best_key) if self.best_key else None
        if value is None or self.higher_is_better is None:
            return
        if beats(value, self.best[0] if self.best else None, self.higher_is_better):
            self.best = (value, step)
            self._save(best_file(str(self.best_key)), Order(now=False))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Our part of the file; no other rank is needed for it."""
        run_position = self.train_log.run_position.position()
        checkpoint[OWN] = {
            **self.carried,
            "global_step": run_position.global_step,
            "samples_seen": run_position.samples_seen,
            "wall_seconds": run_position.wall_seconds,
            "cursor": self.train_log.run_position.plain_cursor(),
            "last_evaluated": self.last_evaluated,
            "best": list(self.best) if self.best else None,
            "best_of": self.best_key,
            "ranks": self.ranks.world,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take our part back."""
        own = checkpoint[OWN]
        self.last_evaluated = own["last_evaluated"]
        same = own.get("best_of", self.best_key) == self.best_key  # another score's values are not comparable
        self.best = (own["best"][0], own["best"][1]) if own["best"] and same else None

    def all_finite(self, module: pl.LightningModule) -> bool:
        """Whether every loss so far and every weight is finite, on this rank; reads the losses that are kept.

        Of a model that is divided over the ranks, this one's part of the weights.
        """
        if first_bad(self.stop_check.losses.take()) is not None:
            self.train_log.not_finite = True  # what is taken is not seen again
        return not self.train_log.not_finite and finite_weights(module, together=False)

    def order(self, name: str, now: bool) -> Order:
        """How a step's file is written: afterwards ``last.ckpt`` is that, and older ones go."""
        keep = self.settings.keep_last, self.settings.keep_per_octave
        return Order(now, partial(_written, self.folder, name, *keep))

    def _save_step(self, now: bool) -> None:
        name = step_file(self.train_log.run_position.step)
        self._save(name, self.order(name, now))
        self._saved = self.train_log.run_position.step

    def _save(self, name: str, order: Order) -> None:
        trainer = self._trainer
        if trainer is None:
            return
        self.stop_check.check_losses()  # a collective; what follows a NaN must not become the last good checkpoint
        if not finite_weights(trainer.lightning_module):
            raise RunError(
                f"weights are not finite after step {self.train_log.run_position.step} although the loss was; "
                f"last good checkpoint: {self.newest or 'none'}; try a lower optimizer.lr"
            )
        trainer.save_checkpoint(self.folder / name, storage_options=order)
        self.note()

    def note(self, wait: bool = False) -> None:
        """Record the files that have come to the disk, and the first of several that could not be written."""
        for file in self.writer.written(wait):
            self._failing = False
            self.event(
                {
                    "event": "checkpoint",
                    "message": f"checkpoint saved: {file.name}",
                    "file": file.name,
                    "seconds": round(file.seconds, 3),
                    "stalled_seconds": round(file.stalled, 3),
                }
            )

        for error in self.writer.failed():
            if not self._failing:
                kept = step_files(self.folder)
                last = f"the last checkpoint is {kept[-1].name}" if kept else "there is no checkpoint yet"
                self.event({"event": "warning", "message": f"{error}; training continues, {last}"})
            self._failing = True

    def advise(self) -> None:
        """Record what to type to resume this run."""
        if self.resume_with:
            self.event({"event": "resumable", "message": f"to resume: {self.resume_with}"})

    def event(self, fields: Mapping[str, Any]) -> None:
        """Record an event, on the first rank."""
        if self.record is not None:
            self.record.append("event", self.train_log.run_position.position(), fields)


def _written(folder: Path, name: str, keep_last: int, keep_per_octave: int) -> None:
    """After ``name`` is on the disk: ``last.ckpt`` is that, and older ones go but those kept for study.

    Args:
        folder: of the checkpoints.
        name: of the newest.
        keep_last: how many stay beside those kept for study.
        keep_per_octave: of the latter, for each doubling of the step.
    """
    point_last(folder, name)
    for old in [path for path in step_files(folder) if not is_kept(step_of(path), keep_per_octave)][:-keep_last]:
        old.unlink(missing_ok=True)
