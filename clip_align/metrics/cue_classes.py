# SPDX-License-Identifier: Apache-2.0
"""Texture bias class by class: a mean in which each shape's class counts alike, as in model-vs-human's figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import cluster_sums, crossed_jackknife_of_sums
from clip_align.metrics.texture import why_gate_closed, without_width

__all__ = ["class_mean_bias"]

NO_WIDTH = 1e-12  # half-width up to rounding errors
NO_HITS = "no decision names the shape or the texture"


def class_mean_bias(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, classes: int, clusters: Sequence[ArrayLike] = ()
) -> Estimate:
    """Mean over the shapes' classes of T_c/(S_c + T_c), in [0, 1]; with images of one shape class that class's bias.

    Classes without a decision for either cue are left out. Not the pooled bias: a model that always names one class
    has .5 there and 1 - 1/K here. Undefined while the gate is closed (``why_gate_closed``), for images of several
    shape classes; of a single class, where no decision names a cue. Where all decisions of each class are for one cue,
    the jackknife has no width: then Wilson's interval of the pooled bias.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among.
        clusters: labels [N] that the interval resamples, one kind or two crossed ones; none: every image by itself.
    """
    c, s, t = (np.asarray(v).astype(np.int64) for v in (choice, shape, texture))
    conflict = s != t
    labels = [np.asarray(of)[conflict] for of in clusters]
    c, s, t = c[conflict], s[conflict], t[conflict]
    of_shape, row = np.unique(s, return_inverse=True)
    # of one class alone nearly all decisions may name it: that is no collapse
    reason = why_gate_closed(c, s, t, classes) if len(of_shape) > 1 else None
    if reason:
        return undefined(reason)
    k = len(of_shape)
    columns = np.zeros((len(c), 2 * k))  # of each class its decisions for shape, then of each those for texture
    columns[np.arange(len(c)), row] = c == s
    columns[np.arange(len(c)), k + row] = c == t

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        both = sums[..., :k] + sums[..., k:]
        ratios = np.where(both > 0, sums[..., k:] / np.where(both > 0, both, 1.0), 0.0)
        counted = (both > 0).sum(axis=-1)
        return np.where(counted > 0, ratios.sum(axis=-1) / np.maximum(counted, 1), np.nan)

    value = float(statistic(columns.sum(axis=0)))
    if not np.isfinite(value):
        return undefined(NO_HITS)
    half = crossed_jackknife_of_sums(statistic, [cluster_sums(columns, of) for of in labels] or [columns])
    if half is None:
        return Estimate(value)
    if half < NO_WIDTH:  # the bias of each class is 0 or 1, whichever images are left out
        return without_width(value, int((c == s).sum()), int((c == t).sum()))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))
