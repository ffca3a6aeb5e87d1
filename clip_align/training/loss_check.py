# SPDX-License-Identifier: Apache-2.0
"""Losses as they come off the device, and the check that they are numbers.

A loss that is NaN makes all weights NaN one step later and training continues as if nothing had happened.
Reading each loss at once would make the host wait for the device every step, so they are kept and read
together, every few steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clip_align.errors import some_of
from clip_align.models.sharding import is_sharded, own_part

NAMED = 5  # sample keys named in a message; all of them are in the record, in an event of their own


@dataclass(frozen=True)
class StepLoss:
    """Loss of one batch on this rank: the optimizer step it belongs to, and the batch's sample keys."""

    step: int
    value: float
    keys: Sequence[str]

    @property
    def finite(self) -> bool:
        """Neither NaN nor infinite."""
        return math.isfinite(self.value)


class PendingLosses:
    """Losses that are still on the device, with what is needed to name their samples."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensor, Sequence[str]]] = []

    def add(self, step: int, loss: Tensor, keys: Sequence[str]) -> None:
        """Keep the loss of a batch; no transfer happens.

        Args:
            step: the optimizer step that the batch is part of, from 1.
            loss: scalar, on the device.
            keys: of the batch's samples.
        """
        # detached: else the graph of every batch would stay in memory
        self._waiting.append((step, loss.detach(), keys))

    def take(self) -> list[StepLoss]:
        """All losses kept so far, oldest first, in one transfer; none is kept afterwards."""
        if not self._waiting:
            return []
        # [N] float32: one transfer, which waits for the device once
        values = cast("list[float]", torch.stack([loss for _, loss, _ in self._waiting]).float().tolist())
        taken = [StepLoss(step, value, keys) for (step, _, keys), value in zip(self._waiting, values, strict=True)]
        self._waiting.clear()
        return taken


def first_bad(losses: Sequence[StepLoss]) -> StepLoss | None:
    """The first loss that is not a finite number, None where all are."""
    return next((loss for loss in losses if not loss.finite), None)


def first_of(found: Sequence[StepLoss]) -> StepLoss:
    """The bad losses of several ranks as one: the earliest step, with the keys of all ranks that had it there."""
    step = min(loss.step for loss in found)
    there = [loss for loss in found if loss.step == step]
    return StepLoss(step, there[0].value, [key for loss in there for key in loss.keys])


def finite_weights(model: nn.Module, together: bool = True) -> bool:
    """Whether every parameter is finite. One transfer; for checkpoints, not for every step.

    A collective where the parameters are divided over ranks: the answer is about all parts, and the same everywhere.
    Without ``together`` it is about this rank's parts.
    """
    with torch.no_grad():
        # a sum is not finite where one of its terms is not; float32, since float16 would overflow
        sums = [own_part(parameter).float().sum() for parameter in model.parameters()]
        total = torch.stack(sums) if sums else torch.zeros(1)
        if together and is_sharded(model):
            dist.all_reduce(total)
        return bool(torch.isfinite(total).all())


def message(bad: StepLoss, last_good: str | None) -> str:
    """One line for the user: what happened at which step, which samples, what to continue from."""
    kept = f"last good checkpoint: {last_good}" if last_good else "no checkpoint had been written"
    return (
        f"train/loss is {bad.value} at step {bad.step}; samples: {some_of(bad.keys, NAMED)}; {kept}; "
        "try a lower optimizer.lr or more optimizer.warmup_steps"
    )
