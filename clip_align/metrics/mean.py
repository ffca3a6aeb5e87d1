# SPDX-License-Identifier: Apache-2.0
"""A mean over items with an interval over clusters of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import cluster_sums, jackknife_of_sums

__all__ = ["mean"]


def mean(values: ArrayLike, clusters: ArrayLike, limits: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """Mean of the values with its 95 % jackknife interval, t with clusters - 1 degrees of freedom.

    Args:
        values: [N].
        clusters: labels [N] of what an interval resamples; each item by itself: ``np.arange(N)``.
        limits: lowest and highest possible mean; the interval is cut to them.

    Undefined without values or where one is not finite; no interval with a single cluster.
    """
    v = np.asarray(values, dtype=np.float64)
    if not len(v):
        return undefined("no items")
    wrong = int(np.count_nonzero(~np.isfinite(v)))
    if wrong:
        return undefined(f"{wrong} of {len(v)} items have no value")
    value = float(v.mean())
    sums = cluster_sums(np.column_stack([v, np.ones(len(v))]), clusters)
    half = jackknife_of_sums(lambda s: s[..., 0] / s[..., 1], sums)
    if half is None:
        return Estimate(value)
    return Estimate(value, max(limits[0], value - half), min(limits[1], value + half))
