# SPDX-License-Identifier: Apache-2.0
"""Sides measured in turn, so that what else the machine does meets all of them, and the ratio of two with its bound."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

OURS = "clip_align"
CONFIDENCE = 0.95  # of the lower bound, one-sided


@dataclass(frozen=True)
class Ratio:
    """Ratio of two sides, of the blocks that ran one after the other.

    median: of the pairs' ratios. lower: one-sided 95 % bound of their geometric mean, by Student's t. lowest, highest:
    of the pairs.
    """

    median: float
    lower: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Case:
    """What was measured under one name: a rate for each block of each side; the larger, the faster.

    facts: what else belongs to it (batch, steps of a block).
    """

    name: str
    unit: str
    rates: Mapping[str, Sequence[float]]
    facts: Mapping[str, Any]

    def median(self, side: str) -> float:
        """Median rate of a side."""
        return statistics.median(self.rates[side])

    def ratio(self, side: str, reference: str) -> Ratio:
        """How many times as fast ``side`` is as ``reference``."""
        return ratio([a / b for a, b in zip(self.rates[side], self.rates[reference], strict=True)])

    def plain(self) -> dict[str, Any]:
        """For the JSON file; ratios are of our side to each other one."""
        others = [side for side in self.rates if side != OURS]
        return {
            "name": self.name,
            "unit": self.unit,
            **self.facts,
            "rates": {side: list(values) for side, values in self.rates.items()},
            "medians": {side: self.median(side) for side in self.rates},
            "ratios": {side: vars(self.ratio(OURS, side)) for side in others},
        }

    def lines(self) -> list[str]:
        """For the terminal: the medians, then the ratios."""
        rates = ", ".join(f"{side} {self.median(side):,.4g}" for side in self.rates)
        found = [f"{self.name}: {rates} {self.unit} (medians of {len(self.rates[OURS])})"]
        for side in self.rates:
            if side != OURS:
                r = self.ratio(OURS, side)
                spread = f"lower 95 % bound {r.lower:.3f}, pairs {r.lowest:.3f} to {r.highest:.3f}"
                found.append(f"  {r.median:.3f} x {side} ({spread})")
        return found


def ratio(ratios: Sequence[float]) -> Ratio:
    """Median, bound and extremes of the ratios of at least two pairs.

    The bound is taken on logarithms: a pair that is twice as fast and one that is half as fast cancel.
    """
    logs = [math.log(value) for value in ratios]
    half_width = float(stats.t.ppf(CONFIDENCE, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    lower = math.exp(statistics.fmean(logs) - half_width)
    return Ratio(statistics.median(ratios), lower, min(ratios), max(ratios))


def in_turn(
    name: str, sides: Mapping[str, Callable[[], float]], pairs: int, notify: Callable[[str], None]
) -> dict[str, list[float]]:
    """The rate of every block of every side; the order of the sides is reversed from one round to the next.

    Args:
        name: of the case, for the lines of progress.
        sides: each runs one block and returns its rate.
        pairs: blocks of each side.
        notify: takes a line after every round, with the time that the rest of this case will take.
    """
    rates: dict[str, list[float]] = {side: [] for side in sides}
    began = time.monotonic()
    for done in range(1, pairs + 1):
        for side in sides if done % 2 else reversed(list(sides)):
            rates[side].append(sides[side]())
        left = (time.monotonic() - began) / done * (pairs - done)
        last = ", ".join(f"{side} {values[-1]:,.4g}" for side, values in rates.items())
        notify(f"{name}: {done} of {pairs}: {last}" + (f"; {left:,.0f} s left" if done < pairs else ""))
    return rates


def missed_bounds(cases: Sequence[Case], reference: str, require: float) -> list[str]:
    """A line for each case whose ratio to ``reference`` has a lower bound below ``require``."""
    bounds = {case.name: case.ratio(OURS, reference).lower for case in cases}
    return [
        f"{name}: the lower bound of the ratio to {reference} is {lower:.3f}, below require={require:g}"
        for name, lower in bounds.items()
        if lower < require
    ]
