# SPDX-License-Identifier: Apache-2.0
"""When a loop asks for its next batch: between two requests lies a step, with all that the loop does in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")
WARM_UP = 2  # requests before the clock starts: the first step makes the moments of AdamW, Lightning asks one ahead


class Clock(Iterable[T]):
    """Batches of a loader, on their way to a loop; ``seconds`` is the time that the timed steps took.

    Args:
        batches: of one side; at least ``steps`` + `WARM_UP` + 1.
        steps: that are timed.
    """

    def __init__(self, batches: Iterable[T], steps: int) -> None:
        self._batches, self._steps = batches, steps
        self._at: list[float] = []

    @property
    def seconds(self) -> float:
        """Of the timed steps."""
        return self._at[1] - self._at[0]

    @property
    def needed(self) -> int:
        """Steps that the loop has to take; after the last one it asks for a batch more, or has done so before."""
        return self._steps + WARM_UP

    def __iter__(self) -> Iterator[T]:
        for request, batch in enumerate(self._batches):
            # the request came before the batch was fetched: what fetching takes belongs to the step before
            yield batch
            if request + 1 in (WARM_UP, WARM_UP + self._steps):
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self._at.append(time.perf_counter())
