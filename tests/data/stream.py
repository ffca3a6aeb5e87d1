# SPDX-License-Identifier: Apache-2.0
"""Batches of a training-data object, taken and compared."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch

from clip_align.data.loader import Batch
from clip_align.data.sampling_plan import Cursor
from clip_align.data.training_data import TrainingData

Make = Callable[..., TrainingData]


def take(data: TrainingData, count: int, start: tuple[int, ...] = Cursor(), **how: Any) -> list[Batch]:
    return list(islice(data.loader(start, **how), count))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a["image"], b["image"])
        and torch.equal(a["text"], b["text"])
        and all(a[name] == b[name] for name in ("keys", "cursor", "skipped", "due", "stand_ins", "copies", "repeated"))  # type: ignore[literal-required]
        for a, b in zip(one, other, strict=True)
    )
