# SPDX-License-Identifier: Apache-2.0
"""A line now and then about work that may take long, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

SECONDS = 0.5  # between two lines
KNOWN_SECONDS = 10.0  # of work, before the time left is estimated from it

Progress = Callable[[str], None]
T = TypeVar("T")


class Follower:
    """Says now and then how much is done. what: is being done. total: number of items. progress: takes the lines."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self.what, self.total, self.progress = what, total, progress
        self.done = 0
        self._began = self._last = time.monotonic()

    def step(self, items: int = 1) -> None:
        """So many more are done."""
        self.done += items
        now = time.monotonic()
        if now - self._last > SECONDS:
            self._last = now
            left = time_left(self.done, self.total, now - self._began)
            self.progress(f"{self.what}: {self.done:,} of {self.total:,}{left}")


def followed(items: Sequence[T], what: str, progress: Progress) -> Iterator[T]:
    """The items one by one; ``progress`` is told how many are done."""
    follower = Follower(what, len(items), progress)
    for item in items:
        yield item
        follower.step()


def time_left(done: int, total: int, seconds: float) -> str:
    """``, about 3 min left`` after ``seconds`` of work; empty while that is too little to judge by, and at the end."""
    if seconds < KNOWN_SECONDS or not 0 < done < total:
        return ""
    left = seconds / done * (total - done)
    for unit, size in (("h", 3600), ("min", 60)):
        if left >= 1.5 * size:
            return f", about {left / size:.0f} {unit} left"
    return f", about {left:.0f} s left"
