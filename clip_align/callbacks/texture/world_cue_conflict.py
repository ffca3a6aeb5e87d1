# SPDX-License-Identifier: Apache-2.0
"""Texture bias: decisions about images of the embedded world whose shape and texture belong to different classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.known_classes import KnownClasses
from clip_align.callbacks.world_benchmark import CLASSES, WorldBenchmark, image_id
from clip_align.metrics import texture
from clip_align.metrics.estimate import Estimate

PART = "cue_conflict"
MORE = "higher = more decisions for the {}"


class WorldCueConflict(WorldBenchmark):
    """The shape of class A filled with the texture typical of class B, A != B: 960 images, 4 per ordered pair.

    Decision among the 16 shape names by prompts. S, T = decisions for the shape, for the texture; texture bias
    = T/(S + T) as in Geirhos et al. 2019 (arXiv 1811.12231), also corrected for guessing, and the fraction of hits
    of each cue: with few hits the bias is meaningless, and null. 1 = texture, 0 = shape; guessing also yields .5.
    No human data. If the tokenizer does not know some shapes, only images whose two classes are known are used.
    ``world``: see `WorldBenchmark`.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = (PART,)

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Texture bias as published and corrected, and the hits of either cue."""
        classes = len(known)
        # a pair of classes is the unit: its four images have the same two answers
        unit = known.unit(f"{classes * (classes - 1)} ordered class pairs, jackknife, t")
        # drawn_after: a single evaluation above the gate may be chance
        bias = partial(Score, direction="higher = decided by texture, lower = by shape", unit=unit, drawn_after=2)
        hits = partial(Score, chance=known.chance, unit=unit, role="companion")
        return (
            bias("texture_bias", "texture bias", _of(texture.texture_bias, classes), chance=0.5, role="headline"),
            bias(
                "texture_bias_corrected",
                "corrected for guesses",
                _of(texture.texture_bias_corrected, classes),
                role="companion",
                # defined whenever the gate is open, while the corrected bias also needs a narrow interval
                drawn_after_of="texture_bias",
            ),
            hits(
                "shape_hits", "shape hits", _of(texture.shape_hits), direction="higher = more decisions for the shape"
            ),
            hits(
                "texture_hits",
                "texture hits",
                _of(texture.texture_hits),
                direction="higher = more decisions for the texture",
            ),
        )

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of the images whose two classes are known."""
        both = self.known.among(self.sets[part].shape) & self.known.among(self.sets[part].texture)
        return np.flatnonzero(both)

    def stimuli(self) -> Iterator[Stimulus]:
        """The cue-conflict images."""
        for index in self.rows(PART).tolist():
            yield self.stimulus(PART, index)

    def items(self, features: Features) -> Items:
        """One item per image: the decision, the shape's class, and the class that the texture is typical of."""
        rows = self.rows(PART)
        shape, of_texture = self.sets[PART].shape[rows], self.sets[PART].texture[rows]
        ids = [image_id(PART, index) for index in rows.tolist()]
        return Items(
            {"choice": self.decisions(features, ids)},
            shape,
            ids,
            clusters={"class_pair": shape.astype(int) * CLASSES + of_texture},  # int8 labels would overflow
            conditions={"texture": of_texture},
        )


def _of(metric: Callable[..., Estimate], *classes: int) -> Callable[[Items], Estimate]:
    return partial(_estimate, metric, classes)


def _estimate(metric: Callable[..., Estimate], classes: tuple[int, ...], items: Items) -> Estimate:
    return metric(items.model["choice"], items.human, items.conditions["texture"], *classes)
