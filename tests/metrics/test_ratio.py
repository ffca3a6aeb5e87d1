# SPDX-License-Identifier: Apache-2.0
"""A ratio with an interval over one kind of clusters or two crossed ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clip_align.metrics.accuracy import wilson
from clip_align.metrics.intervals import t95
from clip_align.metrics.ratio import ratio


def test_value_and_width_by_hand() -> None:
    found = ratio([1, 0, 1, 1], [1, 1, 1, 1], ["a", "a", "b", "c"])
    left = np.array([2 / 2, 2 / 3, 2 / 3])
    half = t95(2) * math.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum())
    assert found.value == 0.75
    assert (found.low, found.high) == (pytest.approx(max(0, 0.75 - half)), 1.0)
    assert ratio([3, -1], [1, 1], limits=(-9, 9)).value == 1


def test_two_kinds_add_their_variances() -> None:
    rng = np.random.default_rng(0)
    first, second = np.repeat(np.arange(8), 12), np.tile(np.arange(12), 8)
    above = (rng.random(96) < 0.5).astype(float)
    one, other = (ratio(above, np.ones(96), labels, limits=(-9, 9)) for labels in (first, second))
    both = ratio(above, np.ones(96), first, second, limits=(-9, 9))

    def variance(found: object, n: int) -> float:
        return float(((found.high - found.value) / t95(n - 1)) ** 2)  # type: ignore[attr-defined]

    assert variance(both, 8) == pytest.approx(variance(one, 8) + variance(other, 12))
    assert both == ratio(above, np.ones(96), second, first, limits=(-9, 9))


def test_an_interval_over_two_kinds_covers_where_both_vary() -> None:
    rng = np.random.default_rng(0)
    covered, too_few = [], []
    for _ in range(300):
        p = 0.5 + rng.normal(0, 0.1, (20, 1)) + rng.normal(0, 0.1, (1, 20))
        hits = (rng.random((20, 20)) < p).ravel().astype(float)
        rows, columns = np.repeat(np.arange(20), 20), np.tile(np.arange(20), 20)
        for answers, found in (
            (covered, ratio(hits, np.ones(400), rows, columns)),
            (too_few, ratio(hits, np.ones(400))),
        ):
            assert found.low is not None
            assert found.high is not None
            answers.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) > 0.93
    assert np.mean(too_few) < 0.9


def test_without_spread_a_proportion_keeps_wilsons_width() -> None:
    assert (ratio([1] * 7, [1] * 7).low, ratio([0] * 7, [1] * 7).high) == (wilson(7, 7)[0], wilson(0, 7)[1])
    halves = ratio([1, 0] * 5, [1] * 10, np.repeat(np.arange(5), 2), np.zeros(10))
    assert (halves.value, halves.low, halves.high) == (0.5, None, None)  # one cluster of the second kind


def test_undefined_and_wrong() -> None:
    assert ratio([1, 2], [0, 0]).reason == "nothing to divide by: the counts below the line sum to 0"
    assert ratio([math.nan, 2], [1, 1]).reason == "counts that are not finite"
    assert ratio([], []).value is None
    with pytest.raises(ValueError, match="one or two kinds of clusters, not 3"):
        ratio([1, 2], [1, 1], [0, 1], [0, 1], [0, 1])
