# SPDX-License-Identifier: Apache-2.0
"""Retrieval of held-out samples of the training data by their captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, Score
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.held_out_images import RetrievedImages
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.top_accuracy import top_scores


class HeldOut(RetrievedImages):
    """Samples of the training data that are never trained on: does an image find its own caption among ``candidates``?

    Needs ``data.held_out`` samples and no labels, so that it is defined on any shards. An image's candidates are its
    caption (the first of several) and those of other held-out samples, each text once. Higher = better; chance 1 /
    candidates; no human data. The share of images is recall@1, image to text, among so many candidates: it falls as
    ``candidates`` grows, and compares with other runs on the same data and candidates only.

    Args:
        candidates, held_out_samples: see `RetrievedImages`.
        base: arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "captions instead of class names"
    source: ClassVar[str] = "samples of the training data that are never trained on"
    licence: ClassVar[str] = "that of the training data"

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """The fraction of images that find their caption, at once and among the five nearest."""
        count = int(np.count_nonzero(known.among(self.images.labels)))
        return (
            accuracy_score(
                "accuracy",
                f"held out, among {len(known.names):,} captions",
                known,
                count,
                direction="higher = more images find their caption",
                higher_is_better=True,
                role="headline",
            ),
            *top_scores(known, count, what="their caption"),
        )

    def items(self, features: Features) -> Items:
        """One item per image: the position of the caption chosen, and that of its own."""
        return self.table(self.clean(features))
