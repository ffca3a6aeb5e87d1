# SPDX-License-Identifier: Apache-2.0
"""Texture bias: decisions about the original cue-conflict images of Geirhos et al. (2019)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Download, Features, Items, Score
from clip_align.callbacks.common.cue_decisions import (
    BIAS_DIRECTION,
    CORRECTED,
    SHAPE_DIRECTION,
    TEXTURE_DIRECTION,
    error_notes,
    of_cues,
)
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.sixteen_classes import SixteenClasses
from clip_align.metrics import texture
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.cue_classes import class_mean_bias
from clip_align.metrics.estimate import Estimate
from clip_align.perception.cue_conflict import CUE_CONFLICT, CueImage, conflict_images
from clip_align.perception.cue_conflict_people import ImageSet, PeopleCounts
from clip_align.perception.sixteen_classes import CATEGORIES, category_numbers

PEOPLE = "10 people"
EXEMPLARS = ("shape_exemplar", "texture_exemplar")
# texture bias T/(S + T) from the authors' trial files and from the answers published with arXiv 2403.09193
# (80 templates), counts over the 1,200 images
PUBLISHED = {
    "AlexNet (Caffe)": 376 / 659,
    "ResNet-50": 572 / 734,
    "ResNet-50 trained on stylized images": 141 / 727,
    "CLIP RN50": 750 / 934,
    "CLIP ViT-L/14": 394 / 1009,
}
PUBLISHED_SOURCE = (
    "all 16 classes: trial files of Geirhos et al. 2019; answers of CLIP of Gavrikov et al. 2025, 80 prompts"
)


class CueConflict(SixteenClasses):
    """1,280 images, each the shape of one class in the texture of another; 80 of them without a conflict.

    Decisions among the 16 class names by prompts (`SixteenClasses` has the rules). S, T = decisions for the shape, for
    the texture of the 1,200 conflicts; texture bias = T/(S + T), 1 minus the published shape bias (Geirhos et al. 2019,
    arXiv 1811.12231). Ten people: .0413, with S + T .803 of the images. 1 = texture, 0 = shape; guessing also gives .5,
    and a model that always names one class exactly .5: the bias is null while decisions hardly follow either cue.
    Beside it the bias corrected for guesses, the hits of both cues, the mean over the classes of the shape (a table by
    class of the shape too), accuracy where both cues agree, and error consistency with people where their trials are
    given (all images, those without a conflict too; between people .331).

    Images share 160 photographs and 48 textures: intervals are for new ones of both, some three times as wide as those
    over images. With fewer classes, chance and human values are those of their images. Images: CC BY 4.0, 224 px, as
    stored for models of that size; smaller models see them downscaled, which removes texture first. No download.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    image_set: ClassVar[ImageSet] = "cue_conflict"
    trial_folders: ClassVar[tuple[str, ...]] = (
        "raw-data/style-transfer-512-nomask-experiment",
        "raw-data/cue-conflict",
    )
    download: ClassVar[Download | None] = CUE_CONFLICT

    def read_images(self, folder: Path) -> Sequence[CueImage]:
        """The images whose shape and texture are among the classes."""
        return conflict_images(folder, self.chosen)

    def scores_for(self, known: KnownClasses, of_people: PeopleCounts) -> Sequence[Score]:
        """Bias pooled, corrected, and by class; hits of either cue; accuracy without a conflict; error consistency."""
        k = len(known.kept or known.names)
        exemplars = known.unit(self.cluster_unit())
        # shown from the second evaluation in a row above the gate: a single one may be chance
        bias = partial(Score, direction=BIAS_DIRECTION, drawn_after=2, unit=exemplars)
        as_raw = partial(bias, drawn_after_of="texture_bias")
        hits = partial(Score, chance=known.chance, unit=exemplars, role="companion", by="shape")
        cues = partial(of_cues, cues=_cues, clusters=_exemplars)
        over_images = known.unit(f"{len(self.images) - 5 * k:,} images, new ones of each class pair: jackknife, t")
        return (
            bias(
                "texture_bias",
                "texture bias",
                partial(cues, metric=texture.texture_bias, classes=k),
                chance=0.5,
                ceilings={PEOPLE: of_people.texture_bias},
                context=PUBLISHED if k == len(CATEGORIES) else {},
                context_source=PUBLISHED_SOURCE if k == len(CATEGORIES) else "",
                role="headline",
            ),
            as_raw(
                "texture_bias_corrected",
                CORRECTED,
                partial(cues, metric=texture.texture_bias_corrected, classes=k),
                role="companion",
            ),
            as_raw(
                "texture_bias_class_mean",
                "texture bias, mean over the shapes' classes",
                partial(cues, metric=class_mean_bias, classes=k),
                by="shape",
            ),
            as_raw(
                "texture_bias_over_images",
                "texture bias, interval over images",
                partial(of_cues, cues=_cues, metric=texture.texture_bias, classes=k),
                unit=over_images,
            ),
            hits(
                "shape_hits",
                "shape hits",
                partial(cues, metric=texture.shape_hits),
                direction=SHAPE_DIRECTION,
                ceilings={PEOPLE: of_people.shape_hits},
            ),
            hits(
                "texture_hits",
                "texture hits",
                partial(cues, metric=texture.texture_hits),
                direction=TEXTURE_DIRECTION,
                ceilings={PEOPLE: of_people.texture_hits},
            ),
            Score(
                "accuracy_same",
                "accuracy without a conflict",
                _accuracy_same,
                direction="higher = more images named rightly",
                chance=known.chance,
                unit=known.unit(f"{5 * k} images, Wilson"),
                ceilings={PEOPLE: of_people.accuracy},
                higher_is_better=True,
            ),
            *self.consistency_scores(),
        )

    def items(self, features: Features) -> Items:
        """One item per image: the decision, the class of the shape (numbers among the 16) and that of the texture."""
        choice = self.decisions(features)
        shapes, textures = ([getattr(image, cue) for image in self.images] for cue in ("shape", "texture"))
        shape, of_texture = category_numbers(shapes), category_numbers(textures)
        labels = np.array([image.exemplars for image in self.images]).reshape(-1, 2)
        return Items(
            {"choice": choice},
            shape,
            [image.stem for image in self.images],
            clusters=dict(zip(EXEMPLARS, labels.T, strict=True)),
            conditions={"shape": np.array(shapes), "texture": np.array(textures)},
            notes=error_notes(choice, shape, of_texture),
            reason=self.unusable(features),
        )

    def cluster_unit(self) -> str:
        """The numbers of exemplars of the images in use."""
        shapes, textures = (len({image.exemplars[cue] for image in self.images}) for cue in (0, 1))
        return f"{shapes} shape and {textures} texture exemplars, two-way jackknife, t({min(shapes, textures) - 1})"


def _cues(items: Items) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return items.human, category_numbers(items.conditions["texture"])


def _exemplars(items: Items) -> list[NDArray[np.str_]]:
    return [items.clusters[name] for name in EXEMPLARS]


def _accuracy_same(items: Items) -> Estimate:
    same = items.where(items.column("shape") == items.column("texture"))
    return accuracy(same.model["choice"], same.human)
