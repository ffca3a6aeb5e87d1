# SPDX-License-Identifier: Apache-2.0
"""The check on all ranks, every few steps, whether the run continues: a signal to one of them, a loss not finite.

A check is one collective and one transfer from the device, so it is not made every step. Rank 0 chooses the number of
steps between two checks from the time that steps take, and every rank counts them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from clip_align.errors import RunError
from clip_align.processes.ranks import Ranks
from clip_align.training.loss_check import PendingLosses, StepLoss, first_bad, first_of, message
from clip_align.training.signals import Signals

EVERY_S = 2.5  # a check comes at least every 5 s, also where steps take twice as long as the last ones
MOST = 50  # steps between two checks: what a NaN may cost, and how many batches' keys are kept


class CheckInterval:
    """The number of calls between two checks; the same on every rank."""

    def __init__(self) -> None:
        self.gap, self._calls, self._since = 1, 0, time.monotonic()

    def due(self) -> bool:
        """Count a call; whether the check is made at this one."""
        self._calls += 1
        return self._calls >= self.gap

    def proposal(self) -> int:
        """The next gap as this rank would have it, from the time of the calls since the last check."""
        seconds = (time.monotonic() - self._since) / max(1, self._calls)
        # doubled at most: the first steps are slow and say little
        return max(1, min(MOST, 2 * self.gap, int(EVERY_S / max(seconds, 1e-6))))

    def restart(self, gap: int) -> None:
        """The check has been made; the next one comes after ``gap`` calls."""
        self.gap, self._calls, self._since = gap, 0, time.monotonic()


class StopCheck(pl.Callback):
    """First of the run's callbacks. ``stopping`` is the number of the signal that ends the run, on all ranks alike.

    Args:
        ranks: of the run; all of them agree in a check.
        signals: of this process.
        losses: of the steps, read here for the check that they are finite.
        on_losses: receives the losses of this rank afterwards.
        on_bad: receives, on rank 0, the first loss that is not finite, with the keys of all ranks.
        last_good: the newest checkpoint's name, None where there is none.
    """

    def __init__(
        self,
        ranks: Ranks,
        signals: Signals,
        losses: PendingLosses,
        on_losses: Callable[[list[StepLoss]], None],
        on_bad: Callable[[StepLoss], None],
        last_good: Callable[[], str | None],
    ) -> None:
        self.on_losses, self.on_bad, self.last_good = on_losses, on_bad, last_good
        self.ranks, self.signals, self.losses = ranks, signals, losses
        self.stopping: int | None = None
        self._steps, self._rounds = CheckInterval(), CheckInterval()
        self._trainer: pl.Trainer | None = None
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The handlers must be set this late: Lightning sets its own just before."""
        self._trainer, self._step = trainer, trainer.global_step
        self.signals.training_starts()
        self._steps.restart(1)  # the first step is checked: what cannot train shows at once

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Check at the border of an optimizer step (a batch may be one of several in a step)."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        # without others to agree with, a signal is seen at the next step
        alone = self.ranks.world == 1 and self.signals.received is not None
        if self._steps.due() or alone:
            self.check_losses()
            self._ask(self._steps)

    def interrupted(self) -> bool:
        """For an evaluation, between its batches: whether it has to be given up. Called equally often on every rank."""
        if self._rounds.due() or self.ranks.world == 1:
            self._ask(self._rounds)
        return self.stopping is not None

    def check_losses(self) -> None:
        """Read the losses since the last check, on all ranks together; RunError when one is not finite."""
        losses = self.losses.take()
        bad = first_bad(losses)
        # a collective on every rank, so that none continues while another refuses
        if highest(int(bad is not None))[0]:
            self._refuse(bad)
        self.on_losses(losses)

    def _refuse(self, bad: StepLoss | None) -> None:
        """On all ranks together: one rank's NaN is in the embeddings that all compare, so each may have caused it."""
        found = [loss for loss in self.ranks.gather(bad) if loss is not None]
        first = first_of(found) if found else None
        if first is not None:
            self.on_bad(first)
        line = self.ranks.broadcast(message(first, self.last_good()) if first else "")
        error = RunError(line)
        error.on_all_ranks = True  # the first one reports it for all
        raise error

    def _ask(self, check_interval: CheckInterval) -> None:
        proposal = check_interval.proposal() if self.ranks.rank == 0 else 0  # the maximum over ranks is then rank 0's
        signal, gap = highest(self.signals.received or 0, proposal)
        check_interval.restart(gap)
        if signal:
            self.stopping = signal
            if self._trainer is not None:
                self._trainer.should_stop = True  # Lightning ends the loop after this step


def highest(*values: int) -> tuple[int, ...]:
    """Of each value the highest over all ranks; a collective where there are several."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    box = torch.tensor(values, dtype=torch.int64, device=collective_device())
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return tuple(box.tolist())


def mean_over_ranks(value: float) -> float:
    """The mean of a number over all ranks; a collective where there are several."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    # float64: what the division rounds stays below float32's digits
    box = torch.tensor(value / dist.get_world_size(), dtype=torch.float64, device=collective_device())
    dist.all_reduce(box)
    return box.item()


def collective_device() -> str:
    """Where a tensor has to be for the default process group."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
