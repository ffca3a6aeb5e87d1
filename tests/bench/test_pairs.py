# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from clip_align.bench.pairs import OURS, Case, in_turn, missed_bounds, ratio

CASE = Case("c", "samples/s", {OURS: [110.0, 220.0, 121.0], "other": [100.0, 200.0, 100.0]}, {"batch": 2})


def test_the_bound_is_that_of_a_table_of_t() -> None:
    found = ratio([1.1, 1.1 * math.e**0.1, 1.1 * math.e**-0.1])
    assert (found.median, found.lowest, found.highest) == pytest.approx((1.1, 1.1 * math.e**-0.1, 1.1 * math.e**0.1))
    # t of 2 degrees of freedom at .95 is 2.920; the standard deviation of the logarithms is .1
    assert math.log(found.lower / 1.1) == pytest.approx(-2.920 * 0.1 / math.sqrt(3), rel=1e-3)
    assert ratio([2.0, 2.0]).lower == pytest.approx(2.0)


def test_ratios_are_of_neighbours() -> None:
    found = CASE.ratio(OURS, "other")
    assert found.median == pytest.approx(1.1)  # of the medians it would be 1.21
    plain = CASE.plain()
    assert plain["medians"] == {OURS: 121.0, "other": 100.0}
    assert plain["batch"] == 2
    assert set(plain["ratios"]) == {"other"}
    lines = CASE.lines()
    assert lines[0] == "c: clip_align 121, other 100 samples/s (medians of 3)"
    assert lines[1].startswith("  1.100 x other (lower 95 % bound 1.0")
    assert lines[1].endswith(", pairs 1.100 to 1.210)")


def test_the_order_of_the_sides_is_reversed_each_round() -> None:
    order: list[str] = []
    said: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    rates = in_turn("c", {"a": lambda: side("a"), "b": lambda: side("b")}, 3, said.append)
    assert "".join(order) == "abbaab"
    assert rates == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert said == ["c: 1 of 3: a 1, b 2; 0 s left", "c: 2 of 3: a 4, b 3; 0 s left", "c: 3 of 3: a 5, b 6"]


def test_a_bound_that_is_missed_is_a_line() -> None:
    assert missed_bounds([CASE], "other", 1.0) == []
    (line,) = missed_bounds([CASE], "other", 1.1)
    assert line.startswith("c: the lower bound of the ratio to other is 1.0")
    assert line.endswith(", below require=1.1")
