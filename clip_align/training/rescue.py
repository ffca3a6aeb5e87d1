# SPDX-License-Identifier: Apache-2.0
"""Saving what a failed run has reached, on the first rank alone: the others may be gone, or wait for ever.

`Checkpoints.on_exception` saves what it can first: an error at the border of a step that every rank raises. This is
for what remains: an error of one rank of several, an error inside a step before its update, a main thread that is
stuck. Where the file of the step is there already, nothing is written.

Weights and optimizer belong to a whole step but for the moments of an update. Ranks of a data-parallel run hold the
same ones, so the first rank's are the run's; only the other ranks' random states are missing in such a file.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import pytorch_lightning as pl
import torch

from clip_align.processes.ranks import Ranks
from clip_align.training.checkpoint_callback import Checkpoints
from clip_align.training.checkpoint_files import step_file

T = TypeVar("T")
OTHERS_S = 10.0  # for a save by all ranks that has begun; one that takes longer waits for a rank that is gone


class _Border(NamedTuple):
    """Lightning's counters at the border of an optimizer step: batches begun, in all and in its epoch; steps done."""

    total: int
    current: int
    stepped: int


class Rescue(pl.Callback):
    """Behind `TrainLog` among the run's callbacks: knows whether the state is whole, and can save it.

    Args:
        checkpoints: names the folder and brings what every checkpoint holds.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._trainer: pl.Trainer | None = None
        self._whole = False
        self._border: tuple[int, _Border] | None = None  # of a step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What was built or loaded is whole."""
        self._trainer, self._whole = trainer, True

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """An update begins."""
        self._whole = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """The update is done and the step counted."""
        self._whole = True
        if self._border is None or trainer.global_step != self._border[0]:
            loop = trainer.fit_loop.epoch_loop
            batches = loop.batch_progress
            border = _Border(batches.total.ready, batches.current.ready, loop._batches_that_stepped)
            self._border = trainer.global_step, border

    def save(self) -> str | None:
        """Write the checkpoint of the last whole step, without a collective; its name, None where nothing was written.

        Nothing is: on other ranks than the first, before the first step, where that step's file is there already,
        inside an update, and where losses or weights are not finite. RunError where the file cannot be written. Call it
        when training has stopped for good: afterwards the callback for checkpoints no longer talks to other ranks.
        """
        ending = self._checkpoints.ending  # the main thread may be saving after all, or hold it waiting for a rank
        held = ending.acquire(timeout=OTHERS_S)
        try:
            return self._save()
        finally:
            if held:
                ending.release()

    def _save(self) -> str | None:
        checkpoints, trainer = self._checkpoints, self._trainer
        step = checkpoints.train_log.run_position.step
        name = step_file(step)
        if trainer is None or not self._whole or checkpoints.ranks.rank != 0:
            return None
        if self._border is None or self._border[0] != step:
            return None
        checkpoints.note(wait=True)
        if (checkpoints.folder / name).exists() or not checkpoints.all_finite(trainer.lightning_module):
            return None
        checkpoints.ranks = _Alone(checkpoints.ranks.world)
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        _at_border(content["loops"]["fit_loop"], self._border[1])
        order = checkpoints.order(name, now=True)
        trainer.strategy.save_checkpoint(content, checkpoints.folder / name, storage_options=order)
        checkpoints.note()
        checkpoints.advise()
        return name


class _Alone(Ranks):
    """The first rank of several that cannot be talked to."""

    def __init__(self, world: int) -> None:
        self.rank, self.world, self._group = 0, world, None

    def gather(self, value: T) -> list[T]:
        return [value]


def _at_border(loop: dict[str, Any], border: _Border) -> None:
    """Lightning's counters as they were when the last optimizer step was done: what had only begun is not counted."""
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = border.stepped
    for span, batches in (("total", border.total), ("current", border.current)):
        counts = loop["epoch_loop.batch_progress"][span]
        counts.update(dict.fromkeys(counts, batches), completed=batches - 1)  # callbacks run before it is completed
        optimizer = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
        done = optimizer["step"][span]["completed"]
        for part in optimizer.values():
            part[span].update(dict.fromkeys(part[span], done))
