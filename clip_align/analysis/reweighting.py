# SPDX-License-Identifier: Apache-2.0
"""Curves of a score under any reweighting of the clusters (resamples, halves), exactly and without new ranks.

A midrank under integer weights w of the clusters is linear in w: rank(i) = sum over clusters s of w[s] C[i, s], with
C[i, s] the items of cluster s below item i and half of those equal to it. The covariance of two lists of ranks is then
a cubic form in w,

    sum over r, s, t of w[r] w[s] w[t] M[r, s, t],    M[r, s, t] = sum over items i of cluster r of Cx[i, s] Cy[i, t],

and so are the variances. 24 clusters have 2,600 products of three weights, 12 of them (a half) 364: a Spearman
correlation of 1,920 items costs a few hundred multiplications instead of a sort, and is the same to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.correlation import why_undefined
from clip_align.metrics.ranks import tie_edges

__all__ = ["Curves", "RankCurves"]

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


class Curves(Protocol):
    """A score at ``evaluations`` points in training, as a function of how often each cluster is taken."""

    clusters: int
    evaluations: int

    def values(self, weights: Floats, members: Index, evaluations: Index) -> Floats:
        """The score [M, E] under M weightings of some clusters.

        Args:
            weights: how often each cluster is taken [M, K], whole numbers >= 0.
            members: numbers of the clusters [K], ascending; all others have weight 0.
            evaluations: numbers of the evaluations [E].

        NaN where it is undefined, as it is for a half of which no cluster was drawn.
        """
        ...


class RankCurves:
    """Spearman correlation of the model's values with people's; with ``level`` the mean of those of the levels.

    Args:
        model: values [T, N] at T evaluations.
        human: values [N].
        cluster: numbers [N] of the items' clusters, from 0.
        level: labels [N], or None for one correlation over all items.

    An evaluation that has no value (constant or not finite, overall or in one of the levels) is NaN under all weights.
    """

    def __init__(self, model: ArrayLike, human: ArrayLike, cluster: ArrayLike, level: ArrayLike | None = None) -> None:
        x, y, group = np.asarray(model, dtype=np.float64), np.asarray(human, dtype=np.float64), np.asarray(cluster)
        self.evaluations, self.clusters = len(x), int(group.max()) + 1
        self._triples = _Triples(self.clusters)
        labels = np.zeros(len(y)) if level is None else np.asarray(level)
        parts = [np.flatnonzero(labels == v) for v in np.unique(labels)]
        self._levels = [_forms(x[:, i], y[i], group[i], self._triples) for i in parts]

    def values(self, weights: Floats, members: Index, evaluations: Index) -> Floats:
        """The score [M, E]; ``weights`` [M, K], ``members`` [K] ascending, ``evaluations`` [E] as in ``Curves``."""
        columns, (a, b, c) = self._triples.among(members)
        products = weights[:, a] * weights[:, b] * weights[:, c]  # [M, C]
        total = np.zeros((len(weights), len(evaluations)))
        for form in self._levels:
            items = weights @ form.items[members]  # number of items of each resample [M]
            middle = (items**3 / 4)[:, None]  # square of the mean rank, times the items
            both = products @ form.both[np.ix_(evaluations, columns)].T - middle
            own = products @ form.model[np.ix_(evaluations, columns)].T - middle
            human = products @ form.human[columns][:, None] - middle
            with np.errstate(invalid="ignore", divide="ignore"):  # both branches of where are computed
                total += np.where((own > 0) & (human > 0), both / np.sqrt(own * human), np.nan)
        return total / len(self._levels)


class _Triples:
    """The products of three weights a <= b <= c, as columns."""

    def __init__(self, clusters: int) -> None:
        self.members = np.array(list(combinations_with_replacement(range(clusters), 3)))  # [C, 3]
        self._column = np.zeros((clusters,) * 3, dtype=np.intp)
        self._column[tuple(self.members.T)] = np.arange(len(self.members))
        # a product sums the six orders of its three factors; with two or three equal ones some orders coincide
        kinds = 1 + (np.diff(self.members, axis=1) > 0).sum(axis=1)
        self._fraction = np.array([1 / 6, 1 / 2, 1.0])[kinds - 1]

    def pack(self, cube: Floats) -> Floats:
        """Coefficients [C] of the cubic form whose tensor is cube [clusters, clusters, clusters]."""
        summed = sum(cube[tuple(self.members[:, list(order)].T)] for order in permutations(range(3)))
        return np.asarray(summed * self._fraction)

    def among(self, members: Index) -> tuple[Index, Index]:
        """Columns of the products of ``members`` alone, and their factors as positions in ``members`` [3, C]."""
        factors = np.array(list(combinations_with_replacement(range(len(members)), 3))).T
        return self._column[tuple(members[factors])], factors


@dataclass(frozen=True)
class _Forms:
    """Cubic forms of one level: of model and human ranks [T, C], of model ranks [T, C], of human ranks [C]."""

    both: Floats
    model: Floats
    human: Floats
    items: Floats  # of each cluster


def _forms(x: Floats, y: Floats, group: Index, triples: _Triples) -> _Forms:
    clusters = len(triples._column)
    parts = [np.flatnonzero(group == g) for g in range(clusters)]

    def form(a: Floats, b: Floats) -> Floats:
        return triples.pack(np.stack([a[p].T @ b[p] for p in parts]))

    below = _below(y, group, clusters)
    both = np.full((len(x), len(triples.members)), np.nan)
    own = both.copy()
    for t, values in enumerate(x):
        if not why_undefined(values, y):
            mine = _below(values, group, clusters)
            both[t], own[t] = form(mine, below), form(mine, mine)
    return _Forms(both, own, form(below, below), np.array([len(p) for p in parts], dtype=np.float64))


def _below(values: Floats, group: Index, clusters: int) -> Floats:
    """How many items of each cluster lie below each item, equal ones counted half: [N, clusters]."""
    order = np.argsort(values, kind="stable")
    edges = tie_edges(values[order])
    upto = np.zeros((len(values) + 1, clusters))  # row k: items of each cluster among the k lowest
    np.cumsum(group[order][:, None] == np.arange(clusters), axis=0, out=upto[1:])
    counts = np.empty((len(values), clusters))
    # mean of "below" and "below or equal": that is what makes the midrank linear in the weights
    counts[order] = np.repeat((upto[edges[:-1]] + upto[edges[1:]]) / 2, np.diff(edges), axis=0)
    return counts
