# SPDX-License-Identifier: Apache-2.0
"""Intervals of scores that depend on counts alone: exact delete-one-cluster jackknife on sums of counts.

A score of sums needs no second pass over the items: leaving a cluster out is a subtraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cluster_sums",
    "crossed_jackknife_of_sums",
    "delete_one_variance",
    "jackknife_of_sums",
    "stratified_jackknife_of_sums",
    "t95",
]

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def t95(degrees: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit  # here: a tenth of a second that a dry run need not pay

    return float(stdtrit(degrees, 0.975))


def cluster_sums(columns: ArrayLike, clusters: ArrayLike) -> NDArray[np.float64]:
    """Sums of columns [N, C] over the items of each cluster (labels [N]): [clusters, C]."""
    values = np.asarray(columns, dtype=np.float64)
    index = np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    sums = np.zeros((int(index.max()) + 1 if len(index) else 0, values.shape[1]))
    np.add.at(sums, index, values)  # sums[index] += values would add only the last of each cluster
    return sums


def jackknife_of_sums(statistic: Statistic, sums: NDArray[np.float64]) -> float | None:
    """Half-width of the 95 % interval of ``statistic(total of sums)``; sums [clusters, C].

    ``statistic`` takes [..., C] and returns [...]. Each cluster is left out once; t with clusters - 1 degrees of
    freedom. None where fewer than two clusters or one of the deletions has no value.
    """
    return crossed_jackknife_of_sums(statistic, [sums])


def crossed_jackknife_of_sums(statistic: Statistic, kinds: Sequence[NDArray[np.float64]]) -> float | None:
    """Half-width of the 95 % interval for new clusters of one kind, or of two crossed kinds at once.

    The variances of the kinds are added; t with the degrees of freedom of the kind with fewer clusters.

    Args:
        statistic: takes sums [..., C] and returns [...].
        kinds: sums [clusters, C] over the clusters of each kind, of the same items.

    None where a kind has fewer than two clusters or one of the deletions has no value.
    """
    variances = []
    for sums in kinds:
        with np.errstate(invalid="ignore", divide="ignore"):  # a deletion without a value is found below
            variances.append(delete_one_variance(statistic(sums.sum(axis=0) - sums)))
    variance = sum(v for v in variances if v is not None)
    if None in variances:
        return None
    return t95(min(map(len, kinds)) - 1) * math.sqrt(variance)


def stratified_jackknife_of_sums(statistic: Statistic, columns: ArrayLike, strata: ArrayLike) -> float | None:
    """Half-width of the 95 % interval of ``statistic`` for new items of the same strata.

    Each item is left out once; the variance is added up within the strata (Wolter, Introduction to Variance Estimation,
    2007, 4.5: the sum over strata of (n - 1)/n times the squared deviations from the stratum's own mean). Strata of a
    single item say nothing about their spread and are treated as one stratum together, which widens the interval.

    Args:
        statistic: takes sums [..., C] and returns [...].
        columns: of the items, [N, C].
        strata: label of each item's stratum, [N].

    Returns:
        The half-width, t with items minus strata degrees of freedom; None where no stratum has two items or one of the
        deletions has no value.
    """
    values = np.asarray(columns, dtype=np.float64)
    index, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)[1:]
    index = index.ravel()
    alone = sizes[index] == 1
    index = np.unique(np.where(alone, -1, index), return_inverse=True)[1].ravel()
    sizes = np.bincount(index)
    degrees = len(values) - len(sizes)
    if degrees < 1:
        return None
    n = sizes[index][:, None]
    of_stratum = cluster_sums(values, index)[index]
    # the rest of the stratum is weighted n/(n - 1), so that each stratum keeps its weight; a single item stays
    rest = np.where(n > 1, (of_stratum - values) * n / np.maximum(n - 1, 1), of_stratum)
    with np.errstate(invalid="ignore", divide="ignore"):  # a deletion without a value is found below
        left = statistic(values.sum(axis=0) - of_stratum + rest)  # [N]
    if not np.isfinite(left).all():
        return None
    deviations = left - (np.bincount(index, left) / sizes)[index]
    variance = float((((sizes - 1) / sizes)[index] * deviations**2).sum())
    return t95(degrees) * math.sqrt(variance)


def delete_one_variance(left: NDArray[np.float64]) -> float | None:
    """Jackknife variance from the values with one cluster left out, [clusters].

    None where fewer than two or one of them has no value.
    """
    n = len(left)
    if n < 2 or not np.isfinite(left).all():
        return None
    return (n - 1) / n * float(((left - left.mean()) ** 2).sum())
