# SPDX-License-Identifier: Apache-2.0
"""Long curves as a page draws them: of the points that share a column of pixels, those that can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from clip_align.report.score_curves import Point

COLUMNS = 200  # of a panel, on each of its scales
FEW = 400  # points that are kept as they are


def thinned(points: Sequence[Point], scales: Sequence[Callable[[float], float]]) -> list[Point]:
    """The points themselves, or those that look alike: first and last, ends of value and band, a gap of each column.

    Args:
        points: of one curve, in order.
        scales: from samples to a place on the axis, 0 to 1; what is seen on any of them is kept.
    """
    if len(points) <= FEW:
        return list(points)
    kept = {0, len(points) - 1}
    for scale in scales:
        columns: dict[int, list[int]] = {}
        for index, point in enumerate(points):
            columns.setdefault(int(scale(point.samples) * COLUMNS), []).append(index)
        for column in columns.values():
            kept.update(_seen(points, column))
    return [points[index] for index in sorted(kept)]


def _seen(points: Sequence[Point], column: Sequence[int]) -> Iterable[int]:
    """Indices of the points that give a column its look."""
    yield from (column[0], column[-1])
    defined = [(i, p.value, p.low, p.high) for i in column if (p := points[i]).value is not None]
    if len(defined) < len(column):
        yield next(i for i in column if points[i].value is None)
    if defined:
        yield min(defined, key=lambda p: p[1] or 0.0)[0]
        yield max(defined, key=lambda p: p[1] or 0.0)[0]
        yield min(defined, key=lambda p: p[2] if p[2] is not None else float("inf"))[0]
        yield max(defined, key=lambda p: p[3] if p[3] is not None else float("-inf"))[0]
