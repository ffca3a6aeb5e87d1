# SPDX-License-Identifier: Apache-2.0
"""Windows of consecutive evaluations, and the pairs of them that the rule compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["WIDTHS", "Windows", "windows"]

Floats = NDArray[np.float64]
Index = NDArray[np.intp]

WIDTHS = (2, 3, 5, 8)  # evaluations in a window
WIDEST_MIXED = 5  # windows up to this width are compared with each other, wider ones with their own width only
WIDEST_END = 3  # of windows that a fall is measured to: the mean of more is no longer where a recovering curve ends
MOST_POINTS = 80  # of longer curves neighbouring evaluations are averaged: the pairs grow with the square of them


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of T evaluations, and all pairs of one that lies wholly before the other.

    weights: mean of each window [W, T]. first, last: its first and last evaluation [W]. width: in points [W]; a point
    is one evaluation, or in long curves the mean of some. earlier, later: windows of each pair [P]. to_end: pairs whose
    later window is the last two or three points [P]. from_start: pairs whose earlier one is step 0 alone [P]. short:
    pairs of windows of at most two points [P].
    """

    weights: Floats
    first: Index
    last: Index
    width: Index
    earlier: Index
    later: Index
    to_end: NDArray[np.bool_]
    from_start: NDArray[np.bool_]
    short: NDArray[np.bool_]


@lru_cache(maxsize=8)
def windows(evaluations: int) -> Windows:
    """The windows of a curve of so many evaluations, of which the first is that of step 0.

    Step 0 is a window by itself and part of no other: its weights have not been trained, and carry no jitter.
    """
    edges = _points(evaluations)
    points = len(edges) - 1
    spans = [(0, 1), *((i, i + width) for width in WIDTHS for i in range(1, points - width + 1))]
    first = np.array([edges[a] for a, _ in spans])
    last = np.array([edges[b] - 1 for _, b in spans])
    width = np.array([b - a for a, b in spans])
    place = np.arange(evaluations)
    inside = (place >= first[:, None]) & (place <= last[:, None])
    earlier, later = np.nonzero(last[:, None] < first[None, :])
    mixed = (width[earlier] <= WIDEST_MIXED) & (width[later] <= WIDEST_MIXED)
    kept = mixed | (width[earlier] == width[later])
    earlier, later = earlier[kept], later[kept]
    return Windows(
        weights=inside / inside.sum(axis=1, keepdims=True),
        first=first,
        last=last,
        width=width,
        earlier=earlier,
        later=later,
        to_end=(last[later] == evaluations - 1) & (width[later] <= WIDEST_END),
        from_start=earlier == 0,
        short=(width[earlier] <= WIDTHS[0]) & (width[later] <= WIDTHS[0]),
    )


def _points(evaluations: int) -> Index:
    """First evaluation of each point, and the number of evaluations: step 0 alone, the rest in equal runs."""
    size = -(-(evaluations - 1) // (MOST_POINTS - 1))
    # counted from the end, so that the last point, which every fall is measured to, is whole
    ends = np.arange(evaluations, 1, -size)[::-1]
    return np.concatenate(([0, 1], ends)).astype(np.intp)
