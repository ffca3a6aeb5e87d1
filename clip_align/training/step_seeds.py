# SPDX-License-Identifier: Apache-2.0
"""What training draws in a step is a function of the run's seed, the rank and the step.

So a resumed run draws what it would have drawn, whichever rank has written its checkpoint and however the others have
ended: no random state has to be kept, or fetched from another rank.
"""

from __future__ import annotations

import random

import numpy as np
import pytorch_lightning as pl
import torch

from clip_align.data.sampling_plan import random_bits


class StepSeeds(pl.Callback):
    """Seeds the global generators before the first batch of each optimizer step.

    Args:
        seed: of the run.
        rank: this process's: ranks draw different numbers.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self._seed, self._rank = seed, rank
        self._step = -1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """A step begins where the last one is done; further batches of it continue its draws."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            _seed_generators(seed_of_step(self._seed, self._rank, self._step + 1))


def seed_of_step(seed: int, rank: int, step: int) -> int:
    """64 bits for an optimizer step (from 1) of a rank."""
    return int(random_bits(np.array([step], np.int64), seed, rank)[0])


def seed_everything(seed: int) -> None:
    """Python, numpy and torch, host and devices."""
    _seed_generators(seed)
    torch.manual_seed(seed)


def _seed_generators(seed: int) -> None:
    """All but devices that nothing runs on: torch would note the call for them, with a stack, which takes longest."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # libraries draw from the global generator
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
