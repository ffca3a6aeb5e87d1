# SPDX-License-Identifier: Apache-2.0
"""Agreement with single observers: the interval over stimuli and observers, ceilings, distances as lengths."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.callbacks.common.sensitivity_scores import crossed_with_observers, lengths, observer_ceiling
from clip_align.evaluation.features import Features
from clip_align.metrics.correlation import plcc, srocc
from clip_align.metrics.estimate import Estimate
from clip_align.perception.contrast_thresholds import colorfest, modelfest
from clip_align.perception.distances import differences

NOTHING = np.zeros((0, 0), np.float32)


def agreed(model: NDArray[np.float64], observers: NDArray[np.float64]) -> Estimate:
    return crossed_with_observers(lambda rows, human: plcc(model[rows], human[rows]), model, observers)


def test_ceilings_are_the_known_ones() -> None:
    assert observer_ceiling(plcc, modelfest().observers) == pytest.approx(0.983, abs=5e-4)
    assert observer_ceiling(srocc, modelfest().observers) == pytest.approx(0.970, abs=5e-4)
    known = {plcc: (0.894, 0.963, 0.897), srocc: (0.870, 0.942, 0.851)}
    for statistic, values in known.items():
        assert observer_ceiling(statistic, colorfest().observers) == pytest.approx(np.mean(values), abs=5e-4)


def test_the_interval_covers_a_known_correlation() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):  # stimuli with a true value, observers with a gain of their own
        truth = rng.normal(size=20)
        model = 0.8 * truth + 0.6 * rng.normal(size=20)
        observers = truth[:, None] * rng.normal(1, 0.1, 12) + rng.normal(0, 0.3, (20, 12))
        low, high = (found := agreed(model, observers)).low, found.high
        assert low is not None
        assert high is not None
        covered += low < 0.8 < high
    assert 180 <= covered <= 199


def test_few_observers_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    truth, model = rng.normal(size=20), rng.normal(size=20)
    model = truth + model
    alike = np.repeat(truth[:, None], 3, axis=1)
    apart = alike + rng.normal(0, 2, (20, 3))
    apart += (truth - apart.mean(axis=1))[:, None]  # the same mean
    narrow, wide = agreed(model, alike), agreed(model, apart)
    assert narrow.value == pytest.approx(wide.value)
    assert None not in (narrow.low, narrow.high, wide.low, wide.high)
    assert wide.high - wide.low > narrow.high - narrow.low  # type: ignore[operator]


def test_a_missing_threshold_is_left_out_where_nobody_else_was_tested() -> None:
    rng = np.random.default_rng(2)
    observers = rng.normal(size=(12, 3))
    observers[4, 1:] = np.nan
    found = agreed(observers[:, 0] + rng.normal(size=12), observers)
    assert found.low is not None


def test_undefined_and_perfect_agreement() -> None:
    observers = modelfest().observers
    human = modelfest().human
    perfect = agreed(human, observers)
    assert (perfect.value, perfect.low, perfect.high) == (pytest.approx(1), None, None)
    assert agreed(-human, observers).value == pytest.approx(-1)
    constant = agreed(np.full(14, 0.3), observers)
    assert (constant.value, constant.reason) == (None, "all 14 model values are equal")
    broken = agreed(np.where(np.arange(14) == 3, np.nan, human), observers)
    assert broken.reason == "1 of 14 model values are not finite"


def test_all_distances_are_proportional_to_a_small_change() -> None:
    angle = np.array([0.001, 0.002, 0.004])
    turned = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)[:, None]
    straight = np.tile(np.array([1, 0], np.float32), (3, 1, 1))
    features = Features(NOTHING[None], {}, NOTHING, differences(straight, turned))
    found = lengths(features, "cosine")
    assert list(found) == ["cosine", "normalised_euclidean", "euclidean"]
    assert found["cosine"] == pytest.approx(angle, rel=1e-3)
    assert found["euclidean"] * np.sqrt(2) == pytest.approx(angle, rel=1e-3)
