# SPDX-License-Identifier: Apache-2.0
"""How much of the retrieval of held-out samples rests on local texture: their images with shuffled tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, ModelInfo, Score, Stimulus
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.held_out_images import RetrievedImages
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.stimulus import View
from clip_align.evaluation.views import chosen_view, cut
from clip_align.metrics.estimate import Estimate
from clip_align.metrics.noise import corrected_drop
from clip_align.perception.cue_images import shuffled
from clip_align.structure import Distinct, Range

WHOLE = "choice_whole"


class HeldOutPatchShuffle(RetrievedImages):
    """The held-out images of ``zero_shot/held_out``, whole and cut into tiles that are put back in random order.

    Tiles of n x n per image keep what is inside them, local texture and edges, and lose the arrangement, which is the
    shape (Naseer et al. 2021, arXiv 2105.10497). Needs no class names, so that it is defined on any data with captions.
    ``kept`` is the fraction of the above-chance accuracy that the shuffled images keep: 1, all of it rests on local
    texture; 0, none does. It is no texture bias, for which shape and texture have to be in conflict, and compares with
    other runs on the same data and candidates only. Chance of the accuracies: 1 / candidates. No human data.

    Args:
        candidates, held_out_samples: see `RetrievedImages`.
        grids: tiles along a side, each its own scores; they divide the model's size in px.
        base: arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "shuffled tiles instead of a conflict of shape and texture"
    source: ClassVar[str] = (
        "samples of the training data that are never trained on; shuffled tiles: Naseer et al. 2021, arXiv 2105.10497"
    )
    licence: ClassVar[str] = "that of the training data"

    def __init__(self, grids: Annotated[Sequence[int], Range(low=2, high=32), Distinct()] = (4,), **base: Any) -> None:
        self.grids = tuple(grids)  # first: scores are named after them
        super().__init__(**base)
        if self.view == "tiles":
            text = "view: shuffled tiles are cut from the model's input; give another view, or null"
            raise UserError(option_problem(self.key, "view", text))
        self.size = 0  # of the model's input in px, from `adapt` on

    def adapt(self, model: ModelInfo) -> str | None:
        """Note the size of the model's input, which the grids have to divide."""
        self.size = model.image_size
        reason = super().adapt(model)
        wrong = [grid for grid in self.grids if self.size % grid]
        return f"{wrong[0]} x {wrong[0]} tiles do not fill the model's input of {self.size} px" if wrong else reason

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """The fraction of the accuracy that each grid keeps, the finest first, then the accuracies."""
        count = int(np.count_nonzero(known.among(self.images.labels)))
        finest = max(self.grids)
        kept = [
            Score(
                f"kept_{grid}",
                f"accuracy kept, {grid} x {grid} tiles shuffled",
                partial(_kept, grid=grid, classes=len(known)),
                direction="higher = more of the accuracy rests on local texture",
                unit=known.unit(f"{count:,} images, paired jackknife, t"),
                axis=(0.0, 1.0),
                role="headline" if grid == finest else "companion",
            )
            for grid in sorted(self.grids, reverse=True)
        ]
        columns = {"whole": "whole images"} | {str(grid): f"{grid} x {grid} tiles shuffled" for grid in self.grids}
        accuracies = [
            accuracy_score(
                f"accuracy_{name}",
                f"accuracy, {label}",
                known,
                count,
                column=f"choice_{name}",
                direction="higher = more images find their caption",
                higher_is_better=True if name == "whole" else None,
                role="companion" if name in ("whole", str(finest)) else "detail",
            )
            for name, label in columns.items()
        ]
        return (*kept, *accuracies)

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, whole and with each grid, shuffled at the model's resolution."""
        yield from super().stimuli()
        view = chosen_view(self.view, self.size, None)
        for grid in self.grids:
            for row in self.rows():
                ident = self._id(row, grid)
                load = partial(shuffled_image, self.images.loads[row], grid, ident, view, self.size)
                yield Stimulus(ident, load, "native", part=f"{self.images.part}/patch_shuffle")

    def items(self, features: Features) -> Items:
        """One item per image: the position of the caption chosen for it whole and with each grid, and of its own."""
        choices = {WHOLE: self.decisions(features, [self.images.ids[row] for row in self.rows()])}
        for grid in self.grids:
            choices[f"choice_{grid}"] = self.decisions(features, [self._id(row, grid) for row in self.rows()])
        return self.table(choices)

    def _id(self, row: int, grid: int) -> str:
        return f"{self.images.ids[row]}/shuffled_{grid}/{self.size}px"


def shuffled_image(
    load: Callable[[], NDArray[np.uint8]], grid: int, seed: str, view: View, size: int
) -> NDArray[np.uint8]:
    """An image cut to the model's input, its tiles shuffled: uint8 [size, size, 3].

    Args:
        load: makes the image.
        grid: tiles along a side.
        seed: of the order of the tiles: the stimulus's id.
        view: under which the image is cut.
        size: side of the model's input in px, a multiple of ``grid``.
    """
    return shuffled(cut(load(), view, size, 1, seed)[0].astype(np.uint8, copy=False), grid, seed)


def _kept(items: Items, grid: int, classes: int) -> Estimate:
    """1 - the corrected drop, with its paired interval; undefined where that is."""
    lost = corrected_drop(items.model[WHOLE], items.model[f"choice_{grid}"], items.human, classes)
    if lost.value is None or lost.low is None or lost.high is None:
        return lost
    return Estimate(1 - lost.value, 1 - lost.high, 1 - lost.low)
