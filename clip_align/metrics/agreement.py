# SPDX-License-Identifier: Apache-2.0
"""Agreement of two observers trial by trial, beyond what their accuracies or habits alone would give.

Cohen's kappa = (c_obs - c_exp)/(1 - c_exp): c_obs the fraction of trials on which two observers give the same answer,
c_exp that of independent observers with the same frequencies of answers. Error consistency is kappa on right or wrong
(Geirhos, Meding & Wichmann 2020, arXiv 2006.16736). 1 = always the same, 0 = as independent observers, negative =
less often than these; never its absolute value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import cluster_sums, crossed_jackknife_of_sums, jackknife_of_sums

__all__ = [
    "cohens_kappa",
    "error_consistency",
    "error_consistency_with",
    "mean_error_consistency",
    "mean_pairwise_error_consistency",
]

NO_TRIALS = "no common trials"
ONE_ANSWER = "both observers always give the same one answer: agreement is expected to be complete"
ALWAYS = "both observers are always right, or always wrong: agreement is expected to be complete"


def cohens_kappa(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """Kappa of two observers' answers, in [-1, 1], with a jackknife interval over clusters of trials.

    Undefined without trials, and where both always give one and the same answer.

    Args:
        first, second: answers [N] to the same trials, labels of any kind.
        clusters: labels [N] of what the interval leaves out; None: every trial by itself. No interval where fewer than
            two, or where leaving one out leaves kappa undefined.
    """
    a, b = _trials(first, second)
    if not len(a):
        return undefined(NO_TRIALS)
    answers, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    one_hot = np.eye(len(answers))[index]
    return _kappa(one_hot[: len(a)], one_hot[len(a) :], clusters, ONE_ANSWER)


def error_consistency(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """Kappa of two observers' being right or wrong, in [-1, 1]; interval and arguments as for `cohens_kappa`.

    Undefined without trials, and where both are always right or both always wrong. A trial without an answer is a
    wrong one.

    Args:
        first, second: whether each observer was right [N], on the same trials in the same order.
        clusters: labels [N] of what the interval leaves out; None: every trial by itself.
    """
    a, b = (column.astype(bool) for column in _trials(first, second))
    if not len(a):
        return undefined(NO_TRIALS)
    one, other = (np.column_stack((right, ~right)).astype(np.float64) for right in (a, b))
    return _kappa(one, other, clusters, ALWAYS)


def mean_error_consistency(observer: ArrayLike, others: ArrayLike) -> float:
    """Mean error consistency of an observer (right [N]) with each of M others (right [M, N]): kappas are averaged.

    NaN where none is defined; those that are not are left out.
    """
    rows = np.atleast_2d(np.asarray(others))
    values = [error_consistency(observer, other, np.zeros(len(other))).value for other in rows]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else float("nan")


def mean_pairwise_error_consistency(observers: ArrayLike) -> float:
    """Mean error consistency over all pairs of observers (right [M, N]): between people, the ceiling of a model's.

    NaN where none is defined; pairs for which it is not are left out.
    """
    pairs = combinations(np.asarray(observers), 2)
    values = [error_consistency(a, b, np.zeros(len(a))).value for a, b in pairs]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else float("nan")


def error_consistency_with(observer: ArrayLike, others: ArrayLike, clusters: Sequence[ArrayLike] = ()) -> Estimate:
    """`mean_error_consistency` of an observer (right [N]) with M others (right [M, N]), with an interval.

    The others are fixed; the interval is for new trials. Undefined without trials, or where it is so with each of them.

    Args:
        observer: whether it was right [N].
        others: whether each of the M others was right on the same trials, [M, N].
        clusters: labels [N] that the interval resamples, one kind or two crossed ones; none: every trial by itself.
    """
    a, rows = np.asarray(observer).astype(bool), np.atleast_2d(np.asarray(others)).astype(bool)
    if a.ndim != 1 or rows.shape[1] != len(a):
        raise ValueError(f"answers must be [N] and [M, N], got {a.shape} and {rows.shape}")
    if not len(a):
        return undefined(NO_TRIALS)
    m = len(rows)
    # [N, 2 M + 2]: the observer right, each of the others right, the observer agrees with each, a count
    columns = np.column_stack((a, rows.T, (rows == a).T, np.ones(len(a)))).astype(np.float64)

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        means = sums / sums[..., -1:]
        p, q, observed = means[..., :1], means[..., 1 : m + 1], means[..., m + 1 : 2 * m + 1]
        expected = p * q + (1 - p) * (1 - q)
        kappa = np.where(expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1.0), np.nan)
        defined = np.isfinite(kappa)
        count = defined.sum(axis=-1)
        return np.where(count > 0, np.where(defined, kappa, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)

    value = float(statistic(columns.sum(axis=0)))
    if not np.isfinite(value):
        return undefined(ALWAYS)
    kinds = [cluster_sums(columns, labels) for labels in clusters] or [columns]
    half = crossed_jackknife_of_sums(statistic, kinds)
    return Estimate(value) if half is None else Estimate(value, max(-1.0, value - half), min(1.0, value + half))


def _trials(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"answers must be two lists of one length, got {a.shape} and {b.shape}")
    return a, b


def _kappa(first: NDArray[np.float64], second: NDArray[np.float64], clusters: ArrayLike | None, why: str) -> Estimate:
    """From one-hot answers [N, K] of both."""
    k = first.shape[1]
    # [N, 2 K + 2]: answers of either, whether they agree, and a count
    columns = np.column_stack((first, second, (first * second).sum(axis=1), np.ones(len(first))))

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n = sums[..., -1]
        observed = sums[..., -2] / n  # c_obs
        # c_exp: both give answer k independently, summed over k
        expected = (sums[..., :k] * sums[..., k : 2 * k]).sum(axis=-1) / n**2
        return np.where(expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1.0), np.nan)

    sums = cluster_sums(columns, np.arange(len(first)) if clusters is None else clusters)
    value = float(statistic(sums.sum(axis=0)))
    if not np.isfinite(value):
        return undefined(why)
    half = jackknife_of_sums(statistic, sums)  # None: fewer than two clusters, or a deletion without a value
    return Estimate(value) if half is None else Estimate(value, max(-1.0, value - half), min(1.0, value + half))
