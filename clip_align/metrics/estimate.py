# SPDX-License-Identifier: Apache-2.0
"""A score's value with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 1e-9  # an interval may miss its value by this much, relative to the value's size (at least to 1)


class InvalidEstimateError(ValueError):
    """Numbers that are no value with its interval: a mistake of the code that computed them."""


@dataclass(frozen=True)
class Estimate:
    """A number with a 95 % interval; ``value`` is None where it is undefined, with a ``reason``.

    ``low`` and ``high`` are None where no interval can be had (too few clusters); the record then
    carries null for them. InvalidEstimateError for a value or bound that is not finite, for bounds that do not
    enclose the value (beyond rounding), and for a value together with a reason.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise InvalidEstimateError("an estimate has either a value or a reason why it has none")
        if self.value is None:
            return
        for name, number in (("value", self.value), ("low", self.low), ("high", self.high)):
            if number is not None and not math.isfinite(number):
                raise InvalidEstimateError(f"not a finite estimate: {name} is {number}")
        # bounds that are computed another way than the value may miss it by a rounding error
        slack = ROUNDING * max(1.0, abs(self.value))
        if self.low is not None and self.low > self.value + slack:
            raise InvalidEstimateError(f"low, {self.low:g}, is above the value, {self.value:g}")
        if self.high is not None and self.high < self.value - slack:
            raise InvalidEstimateError(f"high, {self.high:g}, is below the value, {self.value:g}")


def undefined(reason: str) -> Estimate:
    """An estimate without a value: null in the record, a gap in the figure, never 0."""
    return Estimate(None, reason=reason)
