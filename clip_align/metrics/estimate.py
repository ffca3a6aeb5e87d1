# SPDX-License-Identifier: Apache-2.0
"""A score's value with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number with a 95 % interval; ``value`` is None where it is undefined, with a ``reason``.

    ``low`` and ``high`` are None where no interval can be had (too few clusters); the record then
    carries null for them.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("an estimate has either a value or a reason why it has none")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"not a finite estimate: {self.value}")


def undefined(reason: str) -> Estimate:
    """An estimate without a value: null in the record, a gap in the figure, never 0."""
    return Estimate(None, reason=reason)
