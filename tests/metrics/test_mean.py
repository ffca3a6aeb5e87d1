# SPDX-License-Identifier: Apache-2.0
"""A mean with its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from clip_align.metrics.mean import mean


def test_over_items_it_is_the_interval_of_t() -> None:
    values = np.random.default_rng(0).normal(2, 1, 40)
    found = mean(values, np.arange(40))
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(expected)


def test_an_interval_is_cut_to_the_limits() -> None:
    found = mean([0.0, 1.0, 1.0], np.arange(3), (0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_clusters_are_resampled_whole() -> None:
    values, clusters = [0.0, 0.0, 1.0, 1.0, 0.5, 0.5], list("aabbcc")
    assert mean(values, clusters).low == pytest.approx(mean(values[::2], np.arange(3)).low)
    assert mean(values, ["a"] * 6).low is None


def test_what_is_undefined() -> None:
    assert mean([], []).reason == "no items"
    assert mean([1.0, math.nan, 2.0], np.arange(3)).reason == "1 of 3 items have no value"
