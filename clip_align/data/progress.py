# SPDX-License-Identifier: Apache-2.0
"""A line now and then about work that may take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

SECONDS = 0.5  # between two lines

Progress = Callable[[str], None]
T = TypeVar("T")


def followed(items: Sequence[T], what: str, progress: Progress) -> Iterator[T]:
    """The items one by one; ``progress`` is told how many are done."""
    last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            progress(f"{what}: {count:,} of {len(items):,}")
