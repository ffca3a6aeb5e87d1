# SPDX-License-Identifier: Apache-2.0
"""Python's garbage collector, kept out of training steps.

It runs whenever enough objects have been made, also in the middle of a step, and now and then walks through all objects
there are: some hundred thousand of libraries and model, of which none is garbage. On several ranks all others wait.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl


class GarbageCollection(pl.Callback):
    """First of the run's callbacks: what is there before the first step is not looked at, and in a step nothing is.

    Between two steps, in evaluations and while checkpoints are written, the collector runs as everywhere.
    """

    def __init__(self) -> None:
        self._enabled = True  # whether it runs in this process at all

    @contextmanager
    def restored(self) -> Iterator[None]:
        """The collector is afterwards as it was: the process may be somebody's program or notebook."""
        self._enabled, frozen = gc.isenabled(), gc.get_freeze_count()
        try:
            yield
        finally:
            gc.unfreeze()
            if frozen:  # somebody has frozen objects before, which cannot be distinguished from the rest any more
                gc.collect()
                gc.freeze()
            self._as_before()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Everything is set up."""
        gc.collect()  # else what is garbage now would stay
        gc.freeze()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """A step begins."""
        gc.disable()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """A step is done."""
        self._as_before()

    def _as_before(self) -> None:
        (gc.enable if self._enabled else gc.disable)()
