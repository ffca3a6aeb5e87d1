# SPDX-License-Identifier: Apache-2.0
"""Progress of long work, as data; the receiver decides how often to show it."""

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
    """``done`` of ``total`` items; reports with the same ``what`` are one series.

    unit: what is counted, as in ``images rendered``. left_seconds: an estimate, None if there is none yet.
    """

    what: str
    done: int
    total: int
    unit: str = ""
    left_seconds: float | None = None

    def __str__(self) -> str:
        """As a line: ``world: 4,000 of 20,000 images rendered, about 12 s left``."""
        unit = f" {self.unit}" if self.unit else ""
        left = "" if self.left_seconds is None or self.finished else f", about {rounded(self.left_seconds)} left"
        return f"{self.what}: {self.done:,} of {self.total:,}{unit}{left}"

    @property
    def finished(self) -> bool:
        """Whether it is the last report of its series."""
        return self.done == self.total

    def dumped(self) -> str:
        """One line of JSON, for another process."""
        return json.dumps(asdict(self))


def loaded(line: str) -> Progress | str:
    """A line printed by another process: a ``dumped`` report, or else the line itself."""
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):  # not JSON, or JSON that is no report
        return line.rstrip()


Notify = Callable[[str | Progress], None]  # shows a line or progress


class Follower:
    """Counts finished items and reports them at intervals.

    Args:
        what: name of the work, see `Progress`.
        total: number of items.
        notify: receives the reports.
    """

    def __init__(self, what: str, total: int, notify: Notify) -> None:
        self.what, self.total, self.notify = what, total, notify
        self.done = 0
        self._began = self._last = time.monotonic()  # so that work of less than `SECONDS` reports nothing

    def step(self, items: int = 1) -> None:
        """Count ``items`` as done; reports every `SECONDS`."""
        self.done += items
        now = time.monotonic()
        if now - self._last > SECONDS:
            self._last = now
            left = seconds_left(self.done, self.total, now - self._began)
            self.notify(Progress(self.what, self.done, self.total, left_seconds=left))


def followed(items: Sequence[T], what: str, notify: Notify) -> Iterator[T]:
    """Iterate over ``items`` with progress reports.

    Args:
        items: of the work.
        what: its name, see `Progress`.
        notify: receives the reports.
    """
    follower = Follower(what, len(items), notify)
    for item in items:
        yield item
        follower.step()


def seconds_left(done: int, total: int, seconds: float) -> float | None:
    """Estimated seconds until the end; None before `KNOWN_SECONDS` of work, and at the end.

    Args:
        done: items done.
        total: number of items.
        seconds: since the start.
    """
    if seconds < KNOWN_SECONDS or not 0 < done < total:
        return None
    return seconds / done * (total - done)


def rounded(seconds: float) -> str:
    """A duration in a suitable unit."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:  # 89 s, not 1 min
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
