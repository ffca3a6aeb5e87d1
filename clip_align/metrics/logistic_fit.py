# SPDX-License-Identifier: Apache-2.0
"""Linear correlation after a logistic fit, as image-quality papers report it beside the plain one.

The curve has five parameters (Sheikh, Sabir and Bovik, IEEE Trans. Image Process. 15, 2006, 3440-3451):
``b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5``, by least squares. It is fitted to the data that it is scored on,
which flatters, and its linear term need not be monotone: the plain correlation belongs beside it.

Least squares may have no best curve: toward an ever flatter logistic with an ever larger b1 the curve becomes a cubic,
toward an ever steeper one a step, and each may fit better than any curve of the family. General solvers then walk on
until their calls are used up. So b1, b4 and b5 are solved for exactly, at each slope and centre (variable projection:
Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973, 413-432), and these two are sought in a box in which the limits are
all but reached. The straight line (b1 = 0) is part of the family: a fit is never below the plain correlation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from clip_align.metrics.correlation import plcc, srocc, why_undefined

__all__ = ["best_logistic", "plcc_fitted", "why_not_fitted"]

Array = NDArray[np.float64]

PARAMETERS = 5
SLOPES = (0.05, 1e4)  # box, per standard deviation of x: below, the curve is a cubic to 1 %; above, a step
MARGIN = 40.0  # of the box of the centre beyond the range of x, in standard deviations: there, an exponential
FIRST_SLOPES = (0.3, 1.0, 4.0, 16.0, 64.0)  # that the search starts from
FIRST_CENTRES = tuple(np.arange(0.05, 1, 0.1))  # quantiles of x; and the mean, where published implementations start
FAR = 4.0  # centres beyond the range of x, in standard deviations, from which an exponential is found
SEARCHES = 4  # from the best of these, and from the mean and the median
COLLINEAR = 1e-20  # fraction of a logistic's variance about a line below which it is rounding
SMALLEST = 1e-250  # sum of squares of what is divided by: far from the data a logistic leaves the range of floats
# changes of the squared correlation, and gradient, at which a search ends
TOLERANCES = {"ftol": 1e-12, "gtol": 1e-9, "maxiter": 100}


def plcc_fitted(x: ArrayLike, y: ArrayLike, logistic: Array | None = None) -> float:
    """Linear correlation of y [N] with the curve fitted from x [N] to it, with the sign of their rank correlation.

    Without that sign a fit turns any order into agreement: a metric and its opposite would score alike.

    Args:
        x: model values [N].
        y: human values [N].
        logistic: [N], of these items from `best_logistic` of these and a few others, of which only height and line are
            then fitted; None: everything is. At the best slope and centre the correlation has no gradient by them:
            with few items left out it is the same to second order, at a hundredth of the cost.

    NaN where ``why_not_fitted`` has a reason.
    """
    if why_not_fitted(x, y):
        return math.nan
    column = best_logistic(x, y) if logistic is None else logistic
    u, v = _standardized(x), _standardized(y)
    line = plcc(u, v)
    beyond, own = _beyond_line(column, u)
    gain = float(beyond @ (v - line * u)) ** 2 / own / len(u) if own else 0.0
    return math.copysign(math.sqrt(min(1.0, line * line + gain)), srocc(x, y))


def why_not_fitted(x: ArrayLike, y: ArrayLike) -> str | None:
    """Why no curve is fitted from x [N] to y [N], in words; None where one is."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    reason = why_undefined(a, b)
    if reason is None and len(a) <= PARAMETERS:
        return f"{len(a)} items; a curve of {PARAMETERS} parameters needs at least {PARAMETERS + 1}"
    if reason is None and not all(np.isfinite(_standardized(values)).all() for values in (a, b)):
        return "values differ by too little for a fit"
    return reason


def best_logistic(x: ArrayLike, y: ArrayLike) -> Array:
    """Values [N] of the logistic function of x [N] of which, with a line, y [N] is predicted best.

    Standardized, and without what a line explains of them: zero if a line serves as well. ValueError where
    ``why_not_fitted`` has a reason.
    """
    reason = why_not_fitted(x, y)
    if reason:
        raise ValueError(reason)
    u, v = _standardized(x), _standardized(y)
    rest = v - plcc(u, v) * u
    low, high = float(u.min()) - MARGIN, float(u.max()) + MARGIN
    box = [(math.log(SLOPES[0]), math.log(SLOPES[1])), (low, high)]

    def loss(at: Array) -> tuple[float, Array]:
        gain, gradient = _gain(at, u, rest)
        return -gain, -gradient

    found = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=box, options=TOLERANCES) for start in _starts(u, rest)
    ]
    beyond, own = _beyond_line(_logistic(min(found, key=lambda f: float(f.fun)).x, u), u)
    return np.asarray(beyond * math.sqrt(len(u) / own)) if own else beyond


def _starts(u: Array, rest: Array) -> list[Array]:
    centres = [0.0, *np.quantile(u, FIRST_CENTRES), float(u.min()) - FAR, float(u.max()) + FAR]
    grid = [np.array([math.log(slope), centre]) for slope in FIRST_SLOPES for centre in centres]
    usual = [np.array([0.0, 0.0]), np.array([math.log(4.0), float(np.median(u))])]  # steep: distances have long tails
    return usual + sorted(grid, key=lambda at: -_gain(at, u, rest)[0])[:SEARCHES]


def _logistic(at: Array, u: Array) -> Array:
    """Values [N] for the logarithm of a slope, and a centre."""
    # left of the data, minus what is missing to 1: its digits would be lost beside the 1
    side = math.copysign(1.0, at[1])
    return np.asarray(side * expit(side * math.exp(at[0]) * (u - at[1])))


def _beyond_line(column: Array, u: Array) -> tuple[Array, float]:
    """What a line in standardized u [N] leaves of a column [N], and its sum of squares; zero where it is rounding."""
    beyond = column - column.mean()
    spread = float(beyond @ beyond)
    beyond -= (beyond @ u / len(u)) * u
    own = float(beyond @ beyond)
    if own <= max(COLLINEAR * spread, SMALLEST):  # two different values of x, say
        return np.zeros(len(u)), 0.0
    return beyond, own


def _gain(at: Array, u: Array, rest: Array) -> tuple[float, Array]:
    """What the best logistic of a slope and centre adds to the squared correlation of a line, and its gradient [2].

    Args:
        at: logarithm of the slope, and centre.
        u: standardized model values [N].
        rest: what a line leaves of the standardized human values [N].
    """
    logistic = _logistic(at, u)
    beyond, own = _beyond_line(logistic, u)
    if not own:
        return 0.0, np.zeros(2)
    height = float(beyond @ rest) / own
    # derivatives by slope (its logarithm) and centre; that by the height is zero at the best height
    steepness = (rest - height * beyond) * np.abs(logistic) * (1 - np.abs(logistic))
    gradient = np.array([steepness @ (u - at[1]), -float(steepness.sum())])
    return height * height * own / len(u), 2 * height * math.exp(at[0]) / len(u) * gradient


def _standardized(values: ArrayLike) -> Array:
    v = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centred = v / np.abs(v).max()
        centred = centred - centred.mean()
        return np.asarray(centred / centred.std())
