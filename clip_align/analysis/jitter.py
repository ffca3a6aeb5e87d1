# SPDX-License-Identifier: Apache-2.0
"""The jitter of the weights: what makes a curve move from evaluation to evaluation without training going anywhere.

All references have it in common, so that their spread does not show it. Its size is read from third differences of the
curve, in which a smooth course leaves little (second differences keep the bend of a real hump); the largest are
clipped, for a sharp peak is no jitter. It is read where evaluations are regular; others, early in training, have their
own size where that is larger. Neighbouring evaluations whose averages of the weights overlap have jitter in
common, by as much as the overlap: third differences shrink, and what they show is scaled up accordingly.

Jitter of raw weights may be correlated beyond that. The lag-1 correlation is estimated from what a broken line, with a
knot at each of the first evaluations and at every fourth later one, leaves of the curve. The curve's own turns look
like correlated jitter too; bounds are widened by no more correlation than the curve establishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jitter", "jitter", "overlap"]

Floats = NDArray[np.float64]

FEWEST_DIFFERENCES = 3  # of which a size is estimated
FEWEST_REGULAR = 9  # evaluations at equal distances of which jitter is read, rather than of all
CLIPPED_AT = 2.5  # robust standard deviations
KEPT_OF_NORMAL = 0.9466  # variance of a normal number that is clipped at 2.5
MEDIAN_OF_SQUARE = 0.4549  # of a standard normal number
KNOT_EVERY = 4  # evaluations; a broken line that follows a course, but not its jitter
DENSE_KNOTS = 3  # first evaluations after step 0, where a curve moves most
ESTABLISHED = 1.353  # log likelihood ratio that .05 of the curves with less correlation exceed
MOST_CORRELATION = 0.6  # that bounds are widened by
CORRELATIONS = np.linspace(0.0, 0.9, 19)  # among which the lag-1 correlation is chosen


@dataclass(frozen=True, eq=False)
class Jitter:
    """Jitter of T evaluations.

    size: standard deviation of one regular evaluation. lag_1: correlation of neighbouring ones beyond that of
    overlapping averages, the likeliest of 0 to .9. used: the smallest that the curve does not contradict
    (one-sided, 95 %), at most .6, which ``covariance`` [T, T] has. degrees: degrees of freedom of ``size``.
    """

    size: float
    lag_1: float
    used: float
    degrees: float
    covariance: Floats


def jitter(curve: Floats, shared: Floats, steps: Sequence[int] | None = None) -> Jitter:
    """The jitter of a curve.

    Args:
        curve: score at T evaluations, that of step 0 first; T at least 7.
        shared: correlation of the jitter at T evaluations by the overlap of averages, see `overlap`.
        steps: optimizer steps of the evaluations [T]; None: at equal distances.
    """
    after = curve[1:]
    regular = _regular(np.arange(len(after)) if steps is None else np.asarray(steps[1:]))
    inside = np.ix_(regular, regular)
    lag_1, established = _lag_1(after[regular], shared[1:, 1:][inside])
    used = min(established, MOST_CORRELATION)
    correlation = _combined(shared[1:, 1:], used)
    size, degrees = _size(after[regular], correlation[inside])
    sizes = np.full(len(after), size)
    # weights of early evaluations are averaged over few steps, and may move more; what moves less is not believed
    reaching = np.array([not regular[t : t + 4].all() for t in range(len(after) - 3)])
    if np.count_nonzero(reaching) >= FEWEST_DIFFERENCES:
        sizes[~regular] = max(size, _size(after, correlation, reaching)[0])
    covariance = np.zeros((len(curve), len(curve)))
    covariance[1:, 1:] = np.outer(sizes, sizes) * correlation
    return Jitter(size, lag_1, used, degrees, covariance)


def _regular(steps: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The longest run of evaluations at equal distances [n]; all of them where it is short."""
    apart = np.diff(steps)
    edges = np.concatenate(([0], np.flatnonzero(np.diff(apart)) + 1, [len(apart)]))
    longest = int(np.argmax(np.diff(edges)))
    found = np.zeros(len(steps), dtype=bool)
    found[edges[longest] : edges[longest + 1] + 1] = True
    return found if found.sum() >= FEWEST_REGULAR else np.ones(len(steps), dtype=bool)


def overlap(
    steps: Sequence[int], spans: Sequence[float | None], carried: Sequence[float | None] | None = None
) -> Floats:
    """Correlation [T, T] of the jitter of averaged weights, from what two averages have in common.

    Args:
        steps: of the evaluations [T], ascending.
        spans: steps that each evaluation's average reaches back [T]; None (or below 1): raw weights, with jitter of
            their own.
        carried: the fraction of each evaluation's average that is not younger than the evaluation before [T]; None
            where it is not known, and the averages are taken for plain means of their spans.
    """
    end = np.asarray(steps, dtype=np.float64)
    reach = np.array([1.0 if span is None else max(float(span), 1.0) for span in spans])
    reach = np.minimum(reach, np.maximum(end, 1.0))  # no average is older than the run
    common = np.minimum(end[:, None], end) - np.maximum((end - reach)[:, None], end - reach)
    found = np.clip(common, 0.0, None) / np.sqrt(reach[:, None] * reach)
    if carried is not None:
        kept = np.array([np.nan if fraction is None else fraction for fraction in carried])
        for t in range(len(reach) - 1):
            # what a later average has of this one, times the ratio of their jitter
            part = np.cumprod(kept[t + 1 :]) * np.sqrt(reach[t + 1 :] / reach[t])
            found[t, t + 1 :] = found[t + 1 :, t] = np.where(np.isnan(part), found[t, t + 1 :], np.minimum(part, 1.0))
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def _combined(shared: Floats, lag_1: float) -> Floats:
    """Correlations [n, n] of averages that overlap, and of neighbours by their distance, whichever is larger."""
    n = len(shared)
    apart = np.abs(np.arange(n)[:, None] - np.arange(n))
    found = np.asarray(np.maximum(shared, lag_1**apart), dtype=np.float64)
    if lag_1 == 0 or np.count_nonzero(shared) == n:
        return found
    shape, vectors = np.linalg.eigh(found)  # the larger of two covariances need not be one: the nearest is taken
    near = (vectors * np.clip(shape, 1e-3, None)) @ vectors.T
    scale = np.sqrt(np.diag(near))
    return np.asarray(near / np.outer(scale, scale))


def _size(values: Floats, correlation: Floats, rows: NDArray[np.bool_] | slice = slice(None)) -> tuple[float, float]:
    """Standard deviation of one value, and its degrees of freedom, from clipped third differences (``rows``: some)."""
    differences = np.diff(np.eye(len(values)), 3, axis=0)[rows]
    spread = differences @ correlation @ differences.T
    scale = np.sqrt(np.diag(spread))
    found = differences @ values / scale
    robust = float(np.sqrt(np.median(found**2) / MEDIAN_OF_SQUARE))
    clipped = np.clip(found, -CLIPPED_AT * robust, CLIPPED_AT * robust) if robust > 0 else found
    size = float(np.sqrt(np.mean(clipped**2) / KEPT_OF_NORMAL))
    alike = spread / np.outer(scale, scale)
    return size, float(len(found) ** 2 / (alike**2).sum())


def _lag_1(values: Floats, shared: Floats) -> tuple[float, float]:
    """The likeliest lag-1 correlation of values [n] around a broken line (restricted likelihood), and the smallest that
    is not much less likely.
    """
    n = len(values)
    rest = _off_the_line(n)
    beside = rest.T @ (rest @ values)
    if not (beside**2).sum() > 1e-18 * max(1.0, float((values**2).sum())):
        return 0.0, 0.0
    robust = float(np.sqrt(np.median(beside**2) / MEDIAN_OF_SQUARE))
    left = rest @ np.clip(beside, -CLIPPED_AT * robust, CLIPPED_AT * robust)
    white, volume = _whitening(n) if np.array_equal(shared, np.eye(n)) else _whitening_of(shared)
    likely = -len(left) / 2 * np.log(((white @ left) ** 2).mean(axis=1)) - volume
    possible = likely >= likely.max() - ESTABLISHED
    return float(CORRELATIONS[int(np.argmax(likely))]), float(CORRELATIONS[int(np.argmax(possible))])


@lru_cache(maxsize=8)
def _whitening(n: int) -> tuple[Floats, Floats]:
    """`_whitening_of` n evaluations that have nothing in common."""
    return _whitening_of(np.eye(n))


def _whitening_of(shared: Floats) -> tuple[Floats, Floats]:
    """What makes the contrasts off the line white, for each of `CORRELATIONS`: [19, m, m], and log volumes [19]."""
    rest = _off_the_line(len(shared))
    factors = np.linalg.cholesky([rest @ _combined(shared, c) @ rest.T for c in CORRELATIONS])
    return np.linalg.inv(factors), np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)


@lru_cache(maxsize=8)
def _off_the_line(n: int) -> Floats:
    """Contrasts of n values in which a broken line is 0: [n - knots, n]."""
    later = np.round(np.linspace(DENSE_KNOTS - 1, n - 1, -(-(n - DENSE_KNOTS) // KNOT_EVERY) + 1))
    knots = np.unique(np.concatenate((np.arange(DENSE_KNOTS), later))).astype(np.float64)
    line = np.array([np.interp(np.arange(n), knots, height) for height in np.eye(len(knots))]).T
    return np.asarray(np.linalg.svd(line, full_matrices=True)[0][:, len(knots) :].T)
