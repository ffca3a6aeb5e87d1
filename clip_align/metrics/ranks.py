# SPDX-License-Identifier: Apache-2.0
"""Midranks, plain and under integer weights, without importing scipy.stats (seconds of import time)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["midranks", "tie_edges", "weighted_midranks"]


def tie_edges(ordered: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where each group of equal values starts in an ascending array [N], and N at the end: [groups + 1]."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return np.append(starts, len(ordered))


def midranks(x: ArrayLike) -> NDArray[np.float64]:
    """Ranks 1 to N of x [N] in ascending order; equal values share the mean of theirs. x must not hold NaN."""
    values = np.asarray(x, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    if not len(values):
        return np.empty(0)
    edges = tie_edges(values[order])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((edges[:-1] + edges[1:] + 1) / 2, np.diff(edges))
    return ranks


def weighted_midranks(x: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Midranks of x [N] as if item i were there ``weights[..., i]`` times; [..., N], exact, no copy made.

    weights: non-negative integers [..., N] (any leading axes: one set of ranks for each). An item of weight 0 gets
    the rank halfway between its neighbours' copies and must be left out by the caller. x is sorted once; the ranks
    are cumulative sums of the weights, and equal to those of the copies written out.
    """
    values = np.asarray(x, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    edges = tie_edges(values[order])
    upto = np.concatenate((np.zeros((*w.shape[:-1], 1)), np.cumsum(w[..., order], axis=-1)), axis=-1)
    middle = (upto[..., edges[:-1]] + upto[..., edges[1:]] + 1) / 2
    ranks = np.empty(w.shape)
    ranks[..., order] = np.repeat(middle, np.diff(edges), axis=-1)
    return ranks
