# SPDX-License-Identifier: Apache-2.0
"""The common part of edges and silhouettes: how many images without a texture are named rightly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, Score
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.sixteen_classes import SixteenClasses
from clip_align.perception.cue_conflict import CueImage, shape_images
from clip_align.perception.cue_conflict_people import PeopleCounts
from clip_align.perception.sixteen_classes import category_numbers


class ShapeImages(SixteenClasses):
    """Accuracy on images that have a shape alone, with a table by class. Arguments: see `SixteenClasses`."""

    family: ClassVar[str] = "texture"

    def read_images(self, folder: Path) -> Sequence[CueImage]:
        """The images of the classes."""
        return shape_images(folder, self.chosen)

    def scores_for(self, known: KnownClasses, of_people: PeopleCounts) -> Sequence[Score]:
        """Accuracy, in all and by class, and error consistency with people."""
        return (
            accuracy_score(
                "accuracy",
                f"{self.image_set} named",
                known,
                len(self.images),
                ceilings={"10 people": of_people.accuracy},
                role="headline",
                by="shape",
                higher_is_better=True,
            ),
            *self.consistency_scores(),
        )

    def items(self, features: Features) -> Items:
        """One item per image: the decision and the class of the shape, numbers among the 16."""
        shapes = [image.shape for image in self.images]
        return Items(
            {"choice": self.decisions(features)},
            category_numbers(shapes),
            [image.stem for image in self.images],
            conditions={"shape": np.array(shapes)},
            reason=self.unusable(features),
        )
