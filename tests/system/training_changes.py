# SPDX-License-Identifier: Apache-2.0
"""What tests change in a run's process before it starts: failures that cannot be had from outside."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from clip_align.training.checkpoint_writer import CheckpointWriter
from clip_align.training.clip_module import CLIPModule


def _each_step(before: Any) -> None:
    step = CLIPModule.training_step

    def training_step(self: CLIPModule, batch: dict[str, Any], batch_idx: int) -> Any:
        replaced = before(self, batch)
        loss = step(self, batch if replaced is None else replaced, batch_idx)
        return loss

    CLIPModule.training_step = training_step  # type: ignore[method-assign]


def slow() -> None:
    """Steps that take a little, so that a signal comes in time."""
    _each_step(lambda module, batch: time.sleep(0.02))


def slow_with_a_thread() -> None:
    """The same, and every checkpoint is written by a thread, as large ones are."""
    slow()
    build = CheckpointWriter.__init__

    def init(self: CheckpointWriter, background: bool = True) -> None:
        build(self, background, at_once=0)

    CheckpointWriter.__init__ = init  # type: ignore[method-assign]


def poisoned() -> None:
    """From step 14 on the weights are not numbers, as after a step that went wrong."""

    def before(module: CLIPModule, batch: dict[str, Any]) -> None:
        if module.step_under_way >= 14:
            module.model.logit_scale.data.fill_(math.nan)

    _each_step(before)


def failing() -> None:
    """An error of our own at step 5, on the last rank."""

    def before(module: CLIPModule, batch: dict[str, Any]) -> None:
        if module.step_under_way == 5 and module.global_rank == module.trainer.world_size - 1:
            raise ValueError("something is wrong here\nand more about it")

    _each_step(before)


def killed() -> None:
    """The process disappears at step 17, without a word."""

    def before(module: CLIPModule, batch: dict[str, Any]) -> None:
        if module.step_under_way == 17:
            os.kill(os.getpid(), 9)

    _each_step(before)
