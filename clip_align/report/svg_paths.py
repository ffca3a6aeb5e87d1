# SPDX-License-Identifier: Apache-2.0
"""Curves and bands as the text of SVG paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONE_APART = 4.0  # units between the lone points of two curves, whose intervals would hide each other
INSET = 0.02  # of the width, left of the start and right of the end

Placed = tuple[float, float | None, float | None, float | None]  # x in units, value, low, high


@dataclass(frozen=True)
class Frame:
    """The plot: its left and upper end, width and height in units, and the values at its lower and upper end."""

    left: float
    top: float
    width: float
    height: float
    low: float
    high: float

    @property
    def bottom(self) -> float:
        """Its lower end in units."""
        return self.top + self.height

    @property
    def right(self) -> float:
        """Its right end in units."""
        return self.left + self.width

    def x(self, place: float) -> float:
        """Units of a place on the horizontal axis, 0 to 1."""
        return self.left + self.width * (INSET + (1 - 2 * INSET) * place)

    def y(self, value: float) -> float:
        """Units of a value on the vertical axis."""
        return round(self.top + self.height * (self.high - value) / (self.high - self.low), 1)


def line_path(frame: Frame, points: Sequence[Placed], place: int) -> str:
    """A curve, broken where it has no value.

    Args:
        frame: the plot.
        points: in their order.
        place: of the curve among others, by which its lone points are moved to the right.
    """
    parts = []
    for run in _runs(points, place):
        corners = [f"{x:.1f} {frame.y(value or 0.0)}" for x, value, _, _ in run]
        parts.append("M" + "L".join(corners))
    return "".join(parts)


def band_path(frame: Frame, points: Sequence[Placed], place: int) -> str:
    """The area between the ends of a curve's intervals; a narrow strip at a lone point.

    Args:
        frame, points, place: as of `line_path`.
    """
    parts = []
    for run in _runs(points, place):
        ends = [(x, low, high) for x, _, low, high in run if low is not None and high is not None]
        if len(ends) == 1:
            (x, low, high) = ends[0]
            ends = [(x - 0.6, low, high), (x + 0.6, low, high)]
        if ends:
            upper = [f"{x:.1f} {frame.y(high)}" for x, _, high in ends]
            lower = [f"{x:.1f} {frame.y(low)}" for x, low, _ in reversed(ends)]
            parts.append("M" + "L".join(upper + lower) + "Z")
    return "".join(parts)


def _runs(points: Sequence[Placed], place: int) -> Iterator[list[Placed]]:
    """Points that follow each other with a value; a lone one is moved."""
    run: list[Placed] = []
    for point in (*points, (0.0, None, None, None)):
        if point[1] is not None:
            run.append(point)
        elif run:
            yield run if len(run) > 1 else [(run[0][0] + LONE_APART * place, *run[0][1:])]
            run = []
