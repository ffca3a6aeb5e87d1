# SPDX-License-Identifier: Apache-2.0
"""Texture bias: decisions about images of the embedded world whose shape and texture belong to different classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.common.cue_decisions import (
    BIAS_DIRECTION,
    CORRECTED,
    SHAPE_DIRECTION,
    TEXTURE_DIRECTION,
    error_notes,
    of_cues,
)
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.world_benchmark import CLASSES, WorldBenchmark, image_id
from clip_align.metrics import texture
from clip_align.structure import Range

PART = "cue_conflict"


class WorldCueConflict(WorldBenchmark):
    """The shape of class A filled with the texture typical of class B, A != B: 480 images, 2 per ordered pair.

    Decision among the 16 shape names by prompts. S, T = decisions for the shape, for the texture; texture bias
    = T/(S + T) as in Geirhos et al. 2019 (arXiv 1811.12231), also corrected for guessing, which holds where errors
    ignore the image, and the fraction of hits of each cue: with few hits the bias is meaningless, and null.
    1 = texture, 0 = shape; guessing also yields .5. Notes say whether errors depend on the
    image (`error_dependence`) and between which values the bias lies if they do (`bias_range`).
    No human data. If the tokenizer does not know some shapes, only images whose two classes are known are used.

    Args:
        images_per_pair: of the four images of each ordered pair of classes, the first so many. Four make intervals
            .7 times as wide as two.
        base: ``world`` (see `WorldBenchmark`) and the arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 3
    parts: ClassVar[tuple[str, ...]] = (PART,)

    def __init__(self, images_per_pair: Annotated[int, Range(low=2, high=4)] = 2, **base: Any) -> None:
        self.images_per_pair = images_per_pair  # one image leaves nothing to compare within a pair
        super().__init__(**base)

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Texture bias as published and corrected, for new images and for other classes, and the hits of either cue."""
        classes = len(known)
        images = known.unit(f"{classes * (classes - 1)} ordered class pairs, new images of each: jackknife, t")
        others = known.unit(f"other classes too: {classes} shapes x {classes} textures, two-way jackknife, t")
        # shown from the second evaluation in a row above the gate: a single one may be chance
        bias = partial(Score, direction=BIAS_DIRECTION, drawn_after=2)
        # the corrected bias is defined less often, since it also needs a narrow interval
        as_raw = partial(bias, drawn_after_of="texture_bias")
        hits = partial(Score, chance=known.chance, unit=images, role="companion")
        raw, corrected = (
            partial(of_cues, metric=metric, cues=_cues, classes=classes)
            for metric in (texture.texture_bias, texture.texture_bias_corrected)
        )
        raw_wide, corrected_wide = (partial(compute, clusters=_cues) for compute in (raw, corrected))
        return (
            bias("texture_bias", "texture bias", raw, unit=images, chance=0.5, role="headline"),
            as_raw("texture_bias_corrected", CORRECTED, corrected, unit=images, role="companion"),
            as_raw("texture_bias_two_way", "texture bias, other classes too", raw_wide, unit=others),
            as_raw("texture_bias_corrected_two_way", f"{CORRECTED}, other classes too", corrected_wide, unit=others),
            hits(
                "shape_hits",
                "shape hits",
                partial(of_cues, metric=texture.shape_hits, cues=_cues),
                direction=SHAPE_DIRECTION,
            ),
            hits(
                "texture_hits",
                "texture hits",
                partial(of_cues, metric=texture.texture_hits, cues=_cues),
                direction=TEXTURE_DIRECTION,
            ),
        )

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of the first images of each class pair, where both classes are known."""
        both = self.known.among(self.sets[part].shape) & self.known.among(self.sets[part].texture)
        both[self.images_per_pair * CLASSES * (CLASSES - 1) :] = False  # the set has all pairs once, then again
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
        choice = self.decisions(features, ids)
        return Items(
            {"choice": choice},
            shape,
            ids,
            clusters={"class_pair": shape.astype(int) * CLASSES + of_texture},  # int8 labels would overflow
            conditions={"texture": of_texture},
            notes=error_notes(choice, shape, of_texture),
        )


def _cues(items: Items) -> tuple[ArrayLike, ArrayLike]:
    return items.human, items.conditions["texture"]
