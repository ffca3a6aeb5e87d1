# SPDX-License-Identifier: Apache-2.0
"""All deletions at once are the statistic called for each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.analysis.jackknife import leave_one_out
from clip_align.metrics import deletions
from clip_align.metrics.correlation import srocc, within_level_srocc
from clip_align.metrics.deletions import srocc_deletions, within_level_srocc_deletions

Array = NDArray[np.float64]


def _lists(seed: int, n: int, rounded: bool) -> tuple[Array, Array]:
    x, noise = np.random.default_rng(seed).normal(size=(2, n))
    y = x + noise
    return (np.round(x, 1), np.round(y)) if rounded else (x, y)  # rounded: with many ties


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(("n", "groups"), [(200, 24), (60, 60), (7, 2), (5, 1), (4, 4), (0, 0)])
def test_srocc_equals_one_call_for_each_deletion(n: int, groups: int, rounded: bool) -> None:
    x, y = _lists(n, n, rounded)
    group = np.random.default_rng(1).permutation(np.arange(n) % max(groups, 1))
    expected = leave_one_out(lambda rows: srocc(x[rows], y[rows]), group)
    np.testing.assert_allclose(srocc_deletions(x, y, group), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rounded", [False, True])
def test_within_level_srocc_equals_one_call_for_each_deletion(rounded: bool) -> None:
    x, y = _lists(3, 240, rounded)
    level, group = np.arange(240) % 5, np.arange(240) // 10
    expected = leave_one_out(lambda rows: within_level_srocc(x[rows], y[rows], level[rows]), group)
    np.testing.assert_allclose(within_level_srocc_deletions(x, y, level, group), expected, rtol=0, atol=1e-14)
    # groups that are the levels: a level that is deleted does not count
    expected = leave_one_out(lambda rows: within_level_srocc(x[rows], y[rows], level[rows]), level)
    np.testing.assert_allclose(within_level_srocc_deletions(x, y, level, level), expected, rtol=0, atol=1e-14)


def test_many_groups_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _lists(4, 100, True)
    group = np.arange(100) % 10
    whole = srocc_deletions(x, y, group)
    monkeypatch.setattr(deletions, "ELEMENTS", 300)  # three deletions at a time
    np.testing.assert_array_equal(srocc_deletions(x, y, group), whole)


def test_what_a_deletion_leaves_may_be_undefined() -> None:
    x, y = np.array([1.0, 1.0, 1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    got = srocc_deletions(x, y, np.array([0, 0, 0, 1, 1]))
    assert math.isnan(got[0])  # two items
    assert math.isnan(got[1])  # three equal ones
    x[4] = math.inf  # gone with its group alone
    got = srocc_deletions(x, y, np.array([0, 1, 1, 1, 2]))
    assert np.isnan(got).tolist() == [True, True, False]
    assert got[2] == pytest.approx(srocc(x[:4], y[:4]), abs=1e-14)
    level = np.array([0, 0, 0, 1, 1])
    assert np.isnan(within_level_srocc_deletions(y, y, level, np.zeros(5, int))).all()  # nothing is left
    # a level of two items has no value
    assert np.isnan(within_level_srocc_deletions(y, y, level, np.arange(5))).all()
