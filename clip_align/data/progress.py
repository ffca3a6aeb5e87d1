# SPDX-License-Identifier: Apache-2.0
"""How far work is that may take long: data, which whoever shows it keeps calm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

SECONDS = 0.5  # between two reports
KNOWN_SECONDS = 10.0  # of work, before the time left is estimated from it

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` things; reports with the same ``what`` are one series.

    unit: what is counted, as in ``images rendered``. left_seconds: an estimate, None where there is none.
    """

    what: str
    done: int
    total: int
    unit: str = ""
    left_seconds: float | None = None

    def __str__(self) -> str:
        """The line for the reader: ``world: 4,000 of 20,000 images rendered, about 12 s left``."""
        unit = f" {self.unit}" if self.unit else ""
        left = "" if self.left_seconds is None or self.finished else f", about {_rounded(self.left_seconds)} left"
        return f"{self.what}: {self.done:,} of {self.total:,}{unit}{left}"

    @property
    def finished(self) -> bool:
        """Whether it is the last one of its series."""
        return self.done == self.total

    def dumped(self) -> str:
        """One line of json, for another process."""
        return json.dumps(asdict(self))


def loaded(line: str) -> Progress | str:
    """What another process printed: a ``dumped`` report, or the line as it is where it is none."""
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):
        return line.rstrip()


Notify = Callable[[str | Progress], None]  # shows a line, or how far something is


class Follower:
    """Reports now and then how much is done. what: is being done. total: number of items. notify: takes the reports."""

    def __init__(self, what: str, total: int, notify: Notify) -> None:
        self.what, self.total, self.notify = what, total, notify
        self.done = 0
        self._began = self._last = time.monotonic()

    def step(self, items: int = 1) -> None:
        """So many more are done."""
        self.done += items
        now = time.monotonic()
        if now - self._last > SECONDS:
            self._last = now
            left = seconds_left(self.done, self.total, now - self._began)
            self.notify(Progress(self.what, self.done, self.total, left_seconds=left))


def followed(items: Sequence[T], what: str, notify: Notify) -> Iterator[T]:
    """The items one by one; ``notify`` gets how many are done, now and then."""
    follower = Follower(what, len(items), notify)
    for item in items:
        yield item
        follower.step()


def seconds_left(done: int, total: int, seconds: float) -> float | None:
    """An estimate after ``seconds`` of work; None while that is too little to judge by, and at the end."""
    if seconds < KNOWN_SECONDS or not 0 < done < total:
        return None
    return seconds / done * (total - done)


def _rounded(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
