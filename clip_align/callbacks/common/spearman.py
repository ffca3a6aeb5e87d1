# SPDX-License-Identifier: Apache-2.0
"""The score of a benchmark that declares none: Spearman's rank correlation over its items."""

from __future__ import annotations

from clip_align.callbacks.common.pair_scores import over_items
from clip_align.evaluation.score import Score
from clip_align.metrics.correlation import srocc

SPEARMAN = Score(
    "srocc",
    "SROCC",
    over_items(srocc),
    direction="higher = the model orders the items more like people",
    chance=0.0,
    unit="clusters of items, jackknife, t",
    axis=(-1.0, 1.0),  # an outside benchmark may disagree with people altogether
    role="headline",
    has_verdict=True,
    higher_is_better=True,
)
