# SPDX-License-Identifier: Apache-2.0
"""A ratio of two sums over items (a proportion, a bias) with an interval over one or two kinds of clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from clip_align.metrics.accuracy import wilson
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import cluster_sums, crossed_jackknife_of_sums, t95

__all__ = ["ratio"]

NO_SPREAD = 1e-12  # a standard error by rounding, where all jackknife values are equal
NOTHING = "nothing to divide by: the counts below the line sum to 0"


def ratio(
    above: ArrayLike,
    below: ArrayLike,
    *clusters: ArrayLike,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """sum(above)/sum(below) with its 95 % jackknife interval: of accuracy, hits over n; of a bias, T over S + T.

    Over one kind of clusters the interval is for new ones of that kind; over two crossed kinds (shape classes and
    texture exemplars, images and subjects) for new ones of both: their variances are added, t with the fewer clusters'
    degrees of freedom. Where all jackknife values are equal a proportion of counts keeps Wilson's width. Undefined
    where ``below`` sums to 0; no interval where a kind has fewer than two clusters, or leaving one out leaves nothing.

    Args:
        above, below: numbers [N], one for each item.
        clusters: one or two lists of labels [N]; none: every item by itself.
        limits: of the ratio; the interval is cut to them.
    """
    columns = np.column_stack([np.asarray(v, dtype=np.float64) for v in (above, below)])
    kinds = clusters or (np.arange(len(columns)),)
    if len(kinds) > 2:
        raise ValueError(f"an interval over one or two kinds of clusters, not {len(kinds)}")
    top, bottom = columns.sum(axis=0)
    if bottom == 0 or not math.isfinite(top + bottom):
        return undefined(NOTHING if bottom == 0 else "counts that are not finite")
    value = float(top / bottom)
    sums = [cluster_sums(columns, labels) for labels in kinds]
    half = crossed_jackknife_of_sums(lambda v: v[..., 0] / v[..., 1], sums)
    if half is None:
        return Estimate(value)
    if half < NO_SPREAD * t95(min(map(len, sums)) - 1):  # the same ratio in every cluster: the jackknife has no width
        counts = (columns == np.floor(columns)).all() and 0 <= top <= bottom
        low, high = wilson(int(top), int(bottom)) if counts else (value, value)
        return Estimate(value, min(value, low), max(value, high))
    return Estimate(value, max(limits[0], value - half), min(limits[1], value + half))
