# SPDX-License-Identifier: Apache-2.0
"""Pseudo-values of rank correlations: what each cluster of items (reference image) contributes to a score.

The pseudo-value of cluster r is R s - (R - 1) s(without r), for a score s over R clusters. Their mean over the clusters
is the score to second order, and their covariance over the clusters, divided by R, that of the scores of several
evaluations: any difference of evaluations has its jackknife error without a further deletion.

Leaving a cluster out needs no new ranks. A midrank is half a rank plus the number of items below, equal ones counted
half; counted per cluster, it remains to subtract the counts of the cluster that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.correlation import why_undefined
from clip_align.metrics.ranks import tie_edges

__all__ = ["ScoreCurve", "rank_curve"]

Floats = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class ScoreCurve:
    """A score at T evaluations with the pseudo-values of the clusters that its error is over.

    values: [T]. units: one array [T, R] of pseudo-values for each kind of cluster (references; and types, where the
    score's error is over both). NaN rows where a score, or one with a cluster left out, has no value.
    """

    values: Floats
    units: tuple[Floats, ...]

    @property
    def defined(self) -> Index:
        """Numbers of the evaluations with a value."""
        finite = np.isfinite(self.values)
        for unit in self.units:
            finite &= np.isfinite(unit).all(axis=1)
        return np.flatnonzero(finite)

    @property
    def clusters(self) -> int:
        """The number of clusters, of the kind that has fewest."""
        return min(int(unit.shape[1]) for unit in self.units)

    def at(self, evaluations: Index) -> ScoreCurve:
        """The curve at these evaluations only."""
        return ScoreCurve(self.values[evaluations], tuple(unit[evaluations] for unit in self.units))


def rank_curve(
    model: ArrayLike, human: ArrayLike, clusters: tuple[ArrayLike, ...], level: ArrayLike | None = None
) -> ScoreCurve:
    """Spearman correlation of the model's values with people's at every evaluation, with pseudo-values.

    Args:
        model: values [T, N]; NaN rows where an evaluation is missing.
        human: values [N].
        clusters: labels [N] of each kind of cluster, at least one kind.
        level: labels [N]: the score is the mean of the correlations of the levels; None: one over all items.
    """
    x, y = np.asarray(model, dtype=np.float64), np.asarray(human, dtype=np.float64)
    labels = np.zeros(len(y)) if level is None else np.asarray(level)
    parts = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    values = np.full(len(x), np.nan)
    units = []
    for kind in clusters:
        group = np.unique(np.asarray(kind), return_inverse=True)[1].ravel()
        count = int(group.max(initial=-1)) + 1
        found = sum((_correlations(x[:, part], y[part], group[part], count) for part in parts), np.zeros(count + 1))
        found = np.asarray(found / len(parts))
        values = found[:, 0]
        units.append(count * values[:, None] - (count - 1) * found[:, 1:])
    return ScoreCurve(values, tuple(units))


def _correlations(model: Floats, human: Floats, group: Index, clusters: int) -> Floats:
    """Rank correlation of all items, then without each cluster: [T, clusters + 1]."""
    # column 0 leaves nothing out
    kept = np.ones((len(human), clusters + 1))
    kept[np.arange(len(human)), group + 1] = 0.0
    items = kept.sum(axis=0)
    opinion = _centred_ranks(human, group, kept, items)
    spread = (opinion**2).sum(axis=0)
    found = np.full((len(model), clusters + 1), np.nan)
    for t, values in enumerate(model):
        if why_undefined(values, human):
            continue
        own = _centred_ranks(values, group, kept, items)
        product = (own**2).sum(axis=0) * spread
        with np.errstate(invalid="ignore", divide="ignore"):  # a deletion in which all values are equal
            found[t] = np.where(product > 0, (own * opinion).sum(axis=0) / np.sqrt(product), np.nan)
    return found


def _centred_ranks(values: Floats, group: Index, kept: Floats, items: Floats) -> Floats:
    """Midranks minus their mean among the items kept, 0 for the others: [N, clusters + 1]."""
    below = _items_below(values, group, kept.shape[1] - 1)
    ranks = below.sum(axis=1, keepdims=True) - np.column_stack((np.zeros(len(values)), below))
    return np.asarray((ranks - items / 2) * kept)


def _items_below(values: Floats, group: Index, clusters: int) -> Floats:
    """How many items of each cluster lie below each item, equal ones counted half: [N, clusters]."""
    order = np.argsort(values, kind="stable")
    edges = tie_edges(values[order])
    up_to = np.zeros((len(values) + 1, clusters))  # row k: items of each cluster among the k lowest
    np.cumsum(group[order][:, None] == np.arange(clusters), axis=0, out=up_to[1:])
    counts = np.empty((len(values), clusters))
    counts[order] = np.repeat((up_to[edges[:-1]] + up_to[edges[1:]]) / 2, np.diff(edges), axis=0)
    return counts
