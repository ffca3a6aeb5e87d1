# SPDX-License-Identifier: Apache-2.0
"""Linear correlation after a logistic fit, as image-quality papers report it beside the plain one.

The curve has five parameters (Sheikh, Sabir and Bovik, IEEE Trans. Image Process. 15, 2006, 3440-3451):
``b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5``, by least squares. It is fitted to the data that it is scored on,
which flatters, and its linear term need not be monotone: the plain correlation belongs beside it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import leastsq
from scipy.special import expit

from clip_align.metrics.correlation import plcc, srocc, why_undefined

__all__ = ["PARAMETERS", "fit", "plcc_fitted"]

Array = NDArray[np.float64]

PARAMETERS = 5
TOLERANCE = 1e-8  # of the fit, relative: scipy's own for fits of curves
CONVERGED = (1, 2, 3, 4)  # MINPACK's codes
STEEP = (1.0, 4.0)  # slopes that the fit starts from, per standard deviation of x


def plcc_fitted(x: ArrayLike, y: ArrayLike, start: Array | None = None) -> float:
    """Linear correlation of y [N] with the curve fitted from x [N] to it, with the sign of their rank correlation.

    Without that sign a fit turns any order into agreement: a metric and its opposite would score alike.

    Args:
        x: model values [N].
        y: human values [N].
        start: parameters of a fit to nearly the same items, from `fit`; None: several starts.

    NaN where ``why_undefined`` has a reason, for no more items than parameters, and where no fit converges.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    parameters = fit(a, b, start)
    if parameters is None:
        return math.nan
    return math.copysign(1.0, srocc(a, b)) * abs(plcc(_curve(parameters, _standardized(a)), b))


def fit(x: ArrayLike, y: ArrayLike, start: Array | None = None) -> Array | None:
    """Parameters [5] of the curve from standardized x [N] to standardized y [N]; None where there are none.

    Args:
        x: model values [N].
        y: human values [N].
        start: parameters to start from; None: several starts, of which the best fit is returned.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if why_undefined(a, b) or len(a) <= PARAMETERS:
        return None
    u, v = _standardized(a), _standardized(b)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):  # spread that underflows
        return None
    starts = [start] if start is not None else _starts(u, v)
    fits = [found for s in starts if (found := _levenberg_marquardt(s, u, v)) is not None]
    return min(fits, key=lambda found: found[0])[1] if fits else None


def _levenberg_marquardt(start: Array, u: Array, v: Array) -> tuple[float, Array] | None:
    """Sum of squared residuals, and parameters; None where the fit does not converge."""
    # MINPACK's own interface: through ``least_squares`` the same steps take 1.7 times as long
    parameters, _, found, _, code = leastsq(
        _residual, start, (u, v), _jacobian, full_output=True, ftol=TOLERANCE, xtol=TOLERANCE, gtol=TOLERANCE,
        maxfev=500,
    )  # fmt: skip
    if code not in CONVERGED or not np.isfinite(parameters).all():
        return None
    return float(found["fvec"] @ found["fvec"]), np.asarray(parameters)


def _starts(u: Array, v: Array) -> list[Array]:
    sign = math.copysign(1.0, srocc(u, v))
    height = float(np.ptp(v))
    # the authors' start, and a steep curve about the median: distances have long tails
    return [np.array([height, sign * s, c, 0.0, 0.0]) for s, c in zip(STEEP, (0.0, float(np.median(u))), strict=True)]


def _curve(b: Array, u: Array) -> Array:
    return np.asarray(b[0] * (expit(b[1] * (u - b[2])) - 0.5) + b[3] * u + b[4])


def _residual(b: Array, u: Array, v: Array) -> Array:
    return _curve(b, u) - v


def _jacobian(b: Array, u: Array, v: Array) -> Array:
    s = expit(b[1] * (u - b[2]))
    slope = b[0] * s * (1 - s)
    return np.stack([s - 0.5, slope * (u - b[2]), -slope * b[1], u, np.ones_like(u)], axis=1)


def _standardized(v: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centred = v / np.abs(v).max()
        centred = centred - centred.mean()
        return np.asarray(centred / centred.std())
