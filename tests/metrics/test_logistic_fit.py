# SPDX-License-Identifier: Apache-2.0
"""The linear correlation after a logistic fit: exact curves, scipy's fit, sign, and data without a fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit, least_squares

from clip_align.metrics import logistic_fit
from clip_align.metrics.correlation import plcc
from clip_align.metrics.logistic_fit import fit, plcc_fitted

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


def test_a_fit_to_most_of_the_items_starts_from_the_fit_to_all() -> None:
    x, y = noisy(1)
    kept = np.arange(len(x)) % 20 != 3
    assert plcc_fitted(x[kept], y[kept], fit(x, y)) == pytest.approx(plcc_fitted(x[kept], y[kept]), abs=1e-6)


@pytest.mark.parametrize("x", [[1.0] * 9, [1, 2, 3, 4, 5], [1, 2, math.nan, 4, 5, 6, 7, 8, 9]])
def test_what_cannot_be_fitted_is_undefined(x: list[float]) -> None:
    y = list(range(len(x)))
    assert fit(x, y) is None
    assert math.isnan(plcc_fitted(x, y))


@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("n", [6, 20, 240])
def test_the_steps_are_those_of_scipys_least_squares(n: int, noise: float) -> None:
    generator = np.random.default_rng(n)
    x = generator.normal(size=n)
    y = np.tanh(x) + noise * generator.normal(size=n)
    u, v = logistic_fit._standardized(x), logistic_fit._standardized(y)
    for start in logistic_fit._starts(u, v):
        slow = least_squares(
            logistic_fit._residual, start, logistic_fit._jacobian, method="lm", x_scale="jac", max_nfev=500, args=(u, v)
        )
        found = logistic_fit._levenberg_marquardt(start, u, v)
        assert (found is not None) == slow.success
        if found is not None:
            assert found[0] == pytest.approx(2 * slow.cost, rel=1e-12)
            np.testing.assert_allclose(found[1], slow.x, rtol=1e-12)
