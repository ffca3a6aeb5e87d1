# SPDX-License-Identifier: Apache-2.0
"""How far work is that may take long: data, which whoever shows it keeps calm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

SECONDS = 0.5  # between two reports

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
        left = f", about {self.left_seconds:.0f} s left" if self.left_seconds is not None and not self.finished else ""
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


Show = Callable[[str | Progress], None]  # shows a line, or how far something is


def followed(items: Sequence[T], what: str, show: Show) -> Iterator[T]:
    """The items one by one; ``show`` gets how many are done, now and then."""
    last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            show(Progress(what, count, len(items)))
