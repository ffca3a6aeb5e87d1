# SPDX-License-Identifier: Apache-2.0
"""A clock whose time passes only where a test changes it."""

from __future__ import annotations


class Clock:
    """Stands in for the module ``time``, and for one of its functions."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    monotonic = perf_counter = __call__
