# SPDX-License-Identifier: Apache-2.0
"""The linear correlation after a logistic fit: exact curves, scipy's fit, limits of the family, sign, no fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from clip_align.metrics.correlation import plcc
from clip_align.metrics.logistic_fit import best_logistic, plcc_fitted, why_not_fitted

Array = NDArray[np.float64]


def sheikh(x: Array, b1: float, b2: float, b3: float, b4: float, b5: float) -> Array:
    return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5


def noisy(seed: int, n: int = 400) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 3.0, n)
    return x, sheikh(x, 4.0, 0.8, 6.0, 0.05, 3.0) + rng.normal(0, 0.6, n)


def test_a_curve_of_the_family_is_fitted_exactly() -> None:
    x = np.linspace(-3, 9, 200)
    assert plcc_fitted(x, sheikh(x, 5.0, 1.3, 2.0, 0.1, 4.0)) == pytest.approx(1, abs=1e-9)
    assert plcc(x, sheikh(x, 5.0, 1.3, 2.0, 0.1, 4.0)) < 0.97
    assert plcc_fitted(x, 3 * x + 2) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_worse_than_scipys_curve_fit_from_many_starts(seed: int) -> None:
    x, y = noisy(seed)
    best = 0.0
    for slope in (0.2, 0.8, 2.0):
        start = (np.ptp(y), slope, x.mean(), 0.0, y.mean())
        best = max(best, plcc(sheikh(x, *curve_fit(sheikh, x, y, start, maxfev=20_000)[0]), y))
    assert plcc_fitted(x, y) == pytest.approx(best, abs=1e-6)
    assert plcc_fitted(x, y) >= plcc(x, y)


def test_the_sign_is_that_of_the_order_and_the_scale_does_not_matter() -> None:
    x, y = noisy(0)
    value = plcc_fitted(x, y)
    assert plcc_fitted(-x, y) == pytest.approx(-value, abs=1e-6)
    assert plcc_fitted(1e-150 * x + 1e-150, 1e9 * y) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.05, 1.0, 30.0])
def test_affine_maps_change_nothing_and_a_line_is_no_better(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=58)  # as many pairs as two references of CSIQ have
    y = x + noise * rng.normal(size=58)
    value = plcc_fitted(x, y)
    assert plcc_fitted(1e4 * x + 7e4, 1e-3 * y - 5) == pytest.approx(value, abs=1e-6)
    assert plcc_fitted(3 - 2 * x, y) == pytest.approx(-value, abs=1e-6)
    assert 1 >= abs(value) >= abs(plcc(x, y)) - 1e-12


def test_limits_of_the_family_are_fitted() -> None:
    x = np.linspace(-1, 2, 60)
    for y in (x**3 + x, np.exp(x), x + (x > 0.5)):  # flat, with a large b1; far from the data; a step
        assert plcc(x, y) < 0.99
        assert plcc_fitted(x, y) == pytest.approx(1, abs=1e-5)


def test_the_curve_of_all_items_serves_for_most_of_them() -> None:
    x, y = noisy(1)
    logistic = best_logistic(x, y)
    assert plcc_fitted(x, y, logistic) == pytest.approx(plcc_fitted(x, y), abs=1e-12)
    for left_out in range(20):
        kept = np.arange(len(x)) % 20 != left_out
        whole = plcc_fitted(x[kept], y[kept])
        assert plcc_fitted(x[kept], y[kept], logistic[kept]) == pytest.approx(whole, abs=2e-4)


def test_ties_are_fitted_by_their_means() -> None:
    y = np.array([1.0, 2, 3, 5, 4, 9, 7, 8])
    assert plcc_fitted([0, 0, 0, 0, 1, 1, 1, 1], y) == pytest.approx(plcc([0, 0, 0, 0, 1, 1, 1, 1], y), abs=1e-12)
    means = np.array([1.5, 1.5, 4, 4, 6.5, 6.5, 7.5, 7.5])  # a line and a logistic through three values of x
    assert plcc_fitted([0, 0, 1, 1, 1, 1, 2, 2], y) == pytest.approx(plcc(np.repeat([1.5, 5.25, 7.5], [2, 4, 2]), y))
    assert plcc(means, y) > plcc_fitted([0, 0, 1, 1, 1, 1, 2, 2], y)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        ([1.0] * 9, "all 9 model values are equal"),
        ([1, 2, 3, 4, 5], "5 items; a curve of 5 parameters needs at least 6"),
        ([1, 2, math.nan, 4, 5, 6, 7, 8, 9], "1 of 9 model values are not finite"),
        ([30, 31, math.inf, math.inf, 28, 27, 29], "2 of 7 model values are not finite"),  # PSNR of equal images
    ],
)
def test_what_cannot_be_fitted_is_undefined_with_a_reason(x: list[float], reason: str) -> None:
    y = list(range(len(x)))
    assert why_not_fitted(x, y) == reason
    assert math.isnan(plcc_fitted(x, y))
    with pytest.raises(ValueError, match=reason):
        best_logistic(x, y)
