# SPDX-License-Identifier: Apache-2.0
"""Choices of two and of three, by hand; rules for ties; strata."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from clip_align.metrics.choices import agreement_of_two, mean_of_strata, odd_one_out


def test_two_by_hand() -> None:
    first, second, people = [1.0, 2.0, 1.0, np.nan], [2.0, 1.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2]
    assert agreement_of_two(first, second, people).tolist()[:3] == [0.8, 0.2, 0.5]
    assert np.isnan(agreement_of_two(first, second, people)[3])
    assert agreement_of_two(first, second, people, "wrong")[2] == 0
    assert agreement_of_two(first, second, people, "right")[2] == 1


def test_a_perfect_model_has_1_and_its_negation_0() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(50), rng.random(50)
    people = (second < first).astype(float)
    assert agreement_of_two(first, second, people).tolist() == [1.0] * 50
    assert agreement_of_two(-first, -second, people).tolist() == [0.0] * 50


def test_three_by_hand() -> None:
    # distances 1-2, 1-3, 2-3
    distances = [[1.0, 2, 3], [2, 1, 3], [2, 3, 1], [1, 1, 3], [1, 3, 1], [3, 1, 1], [1, 1, 1], [1, np.nan, 2]]
    agreed, tied = odd_one_out(distances, [2] * 8)
    assert agreed[:7].tolist() == pytest.approx([1, 0, 0, 1 / 2, 1 / 2, 0, 1 / 3])
    assert np.isnan(agreed[7])
    assert tied.tolist() == [False, False, False, True, True, True, True, False]
    assert odd_one_out(distances, [2] * 8, "wrong")[0][:7].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert odd_one_out(distances, [2] * 8, "right")[0][:7].tolist() == [1, 0, 0, 1, 1, 0, 1]


def test_the_order_of_three_images_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    points = rng.integers(0, 3, (40, 3, 2)).astype(float)  # a coarse grid: many ties
    odd = rng.integers(0, 3, 40)
    pairs = [(0, 1), (0, 2), (1, 2)]

    def scored(order: tuple[int, ...]) -> np.ndarray:
        moved = points[:, order]
        distances = np.stack([np.linalg.norm(moved[:, a] - moved[:, b], axis=1) for a, b in pairs], axis=1)
        return odd_one_out(distances, [order.index(o) for o in odd])[0]

    first = scored((0, 1, 2))
    for order in itertools.permutations(range(3)):
        assert scored(order) == pytest.approx(first)


def test_guessing_is_right_in_a_third() -> None:
    agreed, _ = odd_one_out(np.random.default_rng(2).random((30_000, 3)), np.zeros(30_000, int))
    assert agreed.mean() == pytest.approx(1 / 3, abs=0.01)


def test_mean_over_strata() -> None:
    found = mean_of_strata([1.0, 0.0, 1.0, 1.0, 1.0], ["a", "a", "b", "b", "b"])
    assert found.value == 0.75
    values = np.random.default_rng(3).random(60)
    plain = mean_of_strata(values, np.zeros(60))
    expected = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert plain.value == pytest.approx(values.mean())
    assert (plain.low, plain.high) == pytest.approx(expected)
    assert mean_of_strata([1.0, np.nan], ["a", "b"]).reason == "the model's distances of 1 of 2 items are not finite"
    assert mean_of_strata([], []).reason == "no items"
