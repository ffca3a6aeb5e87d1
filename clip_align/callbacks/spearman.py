# SPDX-License-Identifier: Apache-2.0
"""The score of a benchmark that declares none: Spearman's rank correlation over its items."""

from __future__ import annotations

from clip_align.analysis.jackknife import jackknife
from clip_align.evaluation.items import Items
from clip_align.evaluation.score import Score
from clip_align.metrics.correlation import srocc, why_undefined
from clip_align.metrics.estimate import Estimate, undefined


def spearman_over_items(items: Items) -> Estimate:
    """SROCC of the headline model values and the human values in [-1, 1], jackknife over the headline cluster.

    Undefined for fewer than two items and for constant or non-finite values; no interval below two clusters.
    """
    model, human = next(iter(items.model.values())), items.human
    reason = why_undefined(model, human)
    if reason:
        return undefined(reason)
    clusters = next(iter(items.clusters.values()))
    return jackknife(lambda kept: srocc(model[kept], human[kept]), clusters)


SPEARMAN = Score(
    "srocc",
    "SROCC",
    spearman_over_items,
    direction="higher = the model orders the items more like people",
    chance=0.0,
    unit="clusters of items, jackknife, t",
    axis=(-1.0, 1.0),
    role="headline",
    flat_margin=0.03,
    higher_is_better=True,
)
