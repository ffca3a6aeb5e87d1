# SPDX-License-Identifier: Apache-2.0
"""Top-5 accuracy: the right class among the five nearest, of benchmarks that decide among more than five."""

from __future__ import annotations

import numpy as np

from clip_align.callbacks.base import Items, Score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate

__all__ = ["TOP", "TOP_COLUMN", "top_scores"]

TOP = 5
TOP_COLUMN = "among_top5"  # of the items: 1 where the right class is among them, 0 where not, -1 for no decision


def top_scores(known: KnownClasses, images: int, suffix: str = "", what: str = "their class") -> tuple[Score, ...]:
    """The score over items with the column ``TOP_COLUMN``; none where there are no more than five classes.

    Args:
        known: the classes among which the model decides.
        images: number of images.
        suffix: of the score's name.
        what: the images are to find.
    """
    if len(known) <= TOP:
        return ()
    score = Score(
        f"accuracy_top{TOP}{suffix}",
        f"clean, among the first {TOP}",
        _among_top,
        direction=f"higher = more images have {what} among the {TOP} nearest",
        chance=TOP * known.chance,
        unit=known.unit(f"{images:,} images, Wilson"),
        higher_is_better=True,
    )
    return (score,)


def _among_top(items: Items) -> Estimate:
    return accuracy(items.model[TOP_COLUMN], np.ones(len(items)))
