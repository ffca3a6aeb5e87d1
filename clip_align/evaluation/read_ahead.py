# SPDX-License-Identifier: Apache-2.0
"""Read the next values in a thread while the present one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def read_ahead(read: Callable[[Item], Value], of: Iterable[Item]) -> Generator[Value, None, None]:
    """Values of ``read(item)`` in order; while the caller uses one, a thread reads the next one.

    Args:
        read: called in one thread, for one item at a time. What it raises is raised where its value is due, and ends
            the reading.
        of: the items.

    At most two values are in memory, if the caller drops one before it takes the next. Close the generator
    (``contextlib.closing``) where it may not be used up: that waits for the reading in progress and ends the thread.
    """
    left = iter(of)

    def begin() -> list[Future[Value]]:
        """The reading of the next item; empty after the last one."""
        return [thread.submit(read, item) for item in islice(left, 1)]

    with ThreadPoolExecutor(1, "read-ahead") as thread:
        ahead = begin()
        while ahead:
            value = ahead.pop().result()
            ahead = begin()
            yield value
            del value  # the next reading begins when the one ahead is there: this one must be gone by then
