# SPDX-License-Identifier: Apache-2.0
"""Saving what a failed run has reached: on the first rank alone, since the others may be gone, or wait for ever.

Weights and optimizer belong to a whole step but for the moments of an update. Ranks of a data-parallel run hold the
same ones, and what each of them draws follows from the step (`step_seeds`): the first rank's file is all that a
resumed run needs. Ranks that hold parts of the weights have to save together, which they do where all have failed
between the same two steps: an evaluation, a callback, data that all of them read.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch

from clip_align.models.sharding import is_sharded
from clip_align.structure import plural
from clip_align.training.checkpoint_callback import Checkpoints
from clip_align.training.checkpoint_files import step_file, step_files, step_of
from clip_align.training.checkpoint_writer import CheckpointError
from clip_align.training.error_lines import peer_is_gone
from clip_align.training.sharded_strategy import ShardedStrategy


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
        self._whole = self._sharded = False
        self._border: tuple[int, _Border] | None = None  # of a step
        self._saving = threading.Lock()
        self._advised = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What was built or loaded is whole."""
        self._trainer, self._whole, self._sharded = trainer, True, is_sharded(pl_module)

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

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save before Lightning takes the loop apart; the error itself continues. Not where a save has failed."""
        try:
            to_save = isinstance(exception, Exception) and not isinstance(exception, CheckpointError)
            with self._saving:
                # before anything that only the first rank waits for
                content = self._gathered(trainer, pl_module) if to_save and not peer_is_gone(exception) else None
                self._checkpoints.note(wait=True)
                if content is not None and self._border is not None:
                    self._write(trainer, step_file(self._border[0]), self._border[1], content)
                    self._advise()
                elif to_save:
                    self._save()
        except Exception as error:  # the run ends for the first reason
            line = f"no checkpoint was saved after the failure: {' '.join(str(error).split())}"
            self._checkpoints.event({"event": "warning", "message": line})

    def lost(self) -> str | None:
        """For the line of the error: what it costs where the weights are divided over the ranks; None elsewhere.

        None also where nothing is lost, and on other ranks than the first. Any thread may call it.
        """
        checkpoints = self._checkpoints
        if not self._sharded or checkpoints.ranks.rank != 0:
            return None
        files = step_files(checkpoints.folder)
        steps = checkpoints.train_log.run_position.step - (step_of(files[-1]) if files else 0)
        if steps <= 0:
            return None
        kept = f"newest checkpoint: {files[-1].name}" if files else "no checkpoint had been written"
        return f"{kept}, {plural(steps, 'step')} lost"

    def _gathered(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any] | None:
        """Of weights that are divided: a checkpoint on the first rank, where all ranks come here in the same state.

        None elsewhere. State is whole between two steps: within one, ranks may have gathered different blocks.
        """
        checkpoints, strategy = self._checkpoints, trainer.strategy
        step = checkpoints.train_log.run_position.step
        between = checkpoints.train_log.whole and self._border is not None and self._border[0] == step
        if not isinstance(strategy, ShardedStrategy) or not between:
            return None
        first = checkpoints.ranks.rank == 0
        there = first and (checkpoints.folder / step_file(step)).exists()
        if not strategy.agreed(step if not there and checkpoints.all_finite(module) else None):
            return None
        with strategy.gathering_apart():
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        return content if first else None

    def save(self) -> str | None:
        """Write the checkpoint of the last whole step, without a collective; its name, None where nothing was written.

        Nothing is: on other ranks than the first, before the first step, where that step's file is there already,
        inside an update, where losses or weights are not finite, and where the weights are divided over the ranks.
        RunError where the file cannot be written. Any thread may call it, when training has stopped for good: one that
        waits for what does not come is stuck.
        """
        with self._saving:
            return self._save()

    def _save(self) -> str | None:
        checkpoints, trainer = self._checkpoints, self._trainer
        step = checkpoints.train_log.run_position.step
        name = step_file(step)
        if trainer is None or not self._whole or checkpoints.ranks.rank != 0:
            return None
        if self._border is None or self._border[0] != step:
            return None
        checkpoints.note(wait=True)
        if self._sharded:  # most of the state is on other ranks
            if checkpoints.newest is not None:
                self._advise()
            return None
        there = (checkpoints.folder / name).exists()
        if not there and not checkpoints.all_finite(trainer.lightning_module):
            return None
        if not there:
            self._write(trainer, name, self._border[1])
        self._advise()
        return None if there else name

    def _advise(self) -> None:
        if not self._advised:
            self._advised = True
            self._checkpoints.advise()

    def _write(self, trainer: pl.Trainer, name: str, border: _Border, content: dict[str, Any] | None = None) -> None:
        checkpoints = self._checkpoints
        if content is None:
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        _at_border(content["loops"]["fit_loop"], border)
        order = checkpoints.order(name, now=True)
        trainer.strategy.save_checkpoint(content, checkpoints.folder / name, storage_options=order)
        checkpoints.note()


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
