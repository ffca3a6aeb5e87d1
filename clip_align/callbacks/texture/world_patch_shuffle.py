# SPDX-License-Identifier: Apache-2.0
"""Accuracy from local texture alone: images of the embedded world whose tiles are shuffled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.world_benchmark import WorldBenchmark, image_id
from clip_align.data.world.held_out import image
from clip_align.errors import UserError, option_problem
from clip_align.perception.cue_images import shuffled
from clip_align.structure import Distinct, Range

PART = "test"


class WorldPatchShuffle(WorldBenchmark):
    """Held-out images cut into tiles that are put back in random order, named among the 16 shapes by prompts.

    Tiles of n x n per image keep what is inside them, local texture and edges, and lose the arrangement, which is the
    shape (Naseer et al. 2021, arXiv 2105.10497). An accuracy that stays high with small tiles is one of textures, which
    in this set are as informative as in training. The same images at every grid, the same order of tiles at every
    step. Higher = more from local features; chance 1/16 (of the known shapes). No human data.

    Args:
        grids: tiles along a side, each its own score; they divide the world's size.
        images: number of images, a multiple of 16 (classes are balanced).
        base: ``world`` (see `WorldBenchmark`) and the arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = (PART,)

    def __init__(
        self,
        grids: Annotated[Sequence[int], Range(low=2, high=16), Distinct()] = (2, 4, 8),
        images: Annotated[int, Range(low=16, high=512, multiple=16)] = 256,
        **base: Any,
    ) -> None:
        self.grids, self.images = tuple(grids), images
        super().__init__(**base)
        size = self.sets[PART].images.shape[1]
        wrong = [grid for grid in self.grids if size % grid]
        if wrong:
            what = f"{wrong[0]} does not divide the world's {size} px"
            raise UserError(option_problem(self.key, "grids", what))

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Accuracy of whole images, and with each grid; the finest one is the headline."""
        n = int(np.count_nonzero(known.among(self.sets[PART].shape[: self.images])))
        return tuple(
            accuracy_score(
                f"accuracy_{grid}",
                "whole images" if grid == 1 else f"{grid} x {grid} tiles shuffled",
                known,
                n,
                column=f"choice_{grid}",
                role="headline" if grid == max(self.grids) else "companion",
            )
            for grid in (1, *self.grids)
        )

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of the first ``images`` of the set, of known shapes."""
        return np.asarray([row for row in super().rows(part) if row < self.images], dtype=np.intp)

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, whole and with each grid."""
        for index in self.rows(PART).tolist():
            yield self.stimulus(PART, index)
            for grid in self.grids:
                load = partial(shuffled_image, self.world, index, grid)
                yield Stimulus(_id(index, grid), load, "native", part="world/patch_shuffle")

    def items(self, features: Features) -> Items:
        """One item per image: the decision about the whole image and with each grid, and the shape."""
        rows = self.rows(PART)
        choice = {
            f"choice_{grid}": self.decisions(features, [_id(index, grid) for index in rows.tolist()])
            for grid in (1, *self.grids)
        }
        ids = [image_id(PART, index) for index in rows.tolist()]
        return Items(choice, self.sets[PART].shape[rows], ids, conditions={"texture": self.sets[PART].texture[rows]})


def shuffled_image(world: Path, index: int, grid: int) -> NDArray[np.uint8]:
    """A held-out image with its tiles shuffled.

    Args:
        world: folder of the held-out sets.
        index: number of the image.
        grid: tiles along a side.
    """
    return shuffled(image(world, PART, index), grid, _id(index, grid))


def _id(index: int, grid: int) -> str:
    return image_id(PART, index) if grid == 1 else f"{image_id(PART, index)}/shuffled_{grid}"
