# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.report.axis_limits import MARGIN, limits, side
from clip_align.report.panels import Panel
from clip_align.report.reference_lines import Bound, Reference
from clip_align.report.score_curves import Curve, Point


def panel(*points: Point, axis: tuple[float, float] = (-1.0, 1.0), bounds: tuple[Bound, ...] = ()) -> Panel:
    lines = (Reference("chance", 0.0, "chance"), Reference("rating noise", 0.99, "ceiling"))
    curve = Curve("human/a/srocc", "srocc", "headline", points, leads=True)
    return Panel("human", "", "", (curve,), lines, axis=axis, bounds=bounds)


def widened(low: float, high: float) -> tuple[float, float]:
    return (pytest.approx(low - MARGIN * (high - low)), pytest.approx(high + MARGIN * (high - low)))


def test_the_axis_fits_curve_and_band_whatever_lines_lie_outside() -> None:
    found = limits(panel(Point(0, 0, 0.6, 0.55, 0.65), Point(1, 1, 0.63, 0.6, 0.66)))
    assert found == widened(0.55, 0.66)
    assert [side(v, found) for v in (0.99, 0.6, 0.0)] == [1, 0, -1]


def test_a_point_without_a_value_widens_nothing() -> None:
    assert limits(panel(Point(0, 0, 0.6), Point(1, 1, 0.7), Point(2, 2, None, 0.1, 0.9))) == widened(0.6, 0.7)


def test_bands_and_bounds_widen_the_axis_as_far_as_the_scores_limits() -> None:
    bound = Bound("limit", ((0, 0.2), (1, 5.0)))
    assert limits(panel(Point(0, 0, 0.5, -9.0, 0.6), axis=(0.0, 1.0), bounds=(bound,))) == widened(0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 12_500.0])
def test_a_flat_curve_has_an_axis_around_it(value: float) -> None:
    low, high = limits(panel(Point(0, 0, value)))
    assert low < value < high


def test_without_a_value_the_axis_holds_the_lines_inside_the_limits_else_the_limits() -> None:
    assert limits(panel(Point(0, 0, None))) == widened(0.0, 0.99)
    assert limits(panel(axis=(2.0, 3.0))) == widened(2.0, 3.0)
