# SPDX-License-Identifier: Apache-2.0
"""Texture or shape? Decisions about images of the embedded world whose two cues disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from clip_align.callbacks import world_stimuli as world_of
from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.metrics import texture
from clip_align.metrics.estimate import Estimate
from clip_align.structure import Holds

PART = "cue_conflict"
UNIT = "240 ordered class pairs, jackknife, t"


def _of(metric: Callable[..., Estimate], items: Items, classes: int | None = None) -> Estimate:
    columns = items.model["choice"], items.human, items.conditions["texture"]
    return metric(*columns) if classes is None else metric(*columns, classes)


def _bias(metric: Callable[..., Estimate]) -> Callable[[Items], Estimate]:
    return partial(_of, metric, classes=world_of.CLASSES)


def _hits(metric: Callable[..., Estimate]) -> Callable[[Items], Estimate]:
    return partial(_of, metric)


class WorldCueConflict(PerceptualCallback):
    """The shape of class A filled with the texture typical of class B, A != B: 960 images, 4 per ordered pair.

    Decision among the 16 shape names by prompts. S, T = decisions for the shape, for the texture; texture bias
    = T/(S + T) as in Geirhos et al. 2019 (arXiv 1811.12231); corrected for guesses beside it, and always the
    fraction of hits of each cue: a bias without hits means nothing, and is null. 1 = texture, 0 = shape; .5 is also
    what guessing gives. No human data: people were not shown these images.
    ``world``: folder of the held-out sets; None: the default world's, made in the user's cache.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "rendered shapes and textures instead of the published images; no human trials"
    source: ClassVar[str] = f"{world_of.SOURCE}; measure: Geirhos et al. 2019, arXiv 1811.12231"
    licence: ClassVar[str] = world_of.LICENCE
    scores = (
        Score(
            "texture_bias",
            "texture bias",
            _bias(texture.texture_bias),
            direction="higher = decided by texture, lower = by shape",
            chance=0.5,
            unit=UNIT,
            role="headline",
            drawn_after=2,
        ),
        Score(
            "texture_bias_corrected",
            "corrected for guesses",
            _bias(texture.texture_bias_corrected),
            direction="higher = decided by texture, lower = by shape",
            unit=UNIT,
            role="companion",
            drawn_after=2,
            drawn_after_of="texture_bias",  # has a value wherever the gate is open; this one waits for its interval too
        ),
        Score(
            "shape_hits",
            "shape hits",
            _hits(texture.shape_hits),
            direction="higher = more decisions for the shape",
            chance=world_of.CHANCE,
            unit=UNIT,
            role="companion",
        ),
        Score(
            "texture_hits",
            "texture hits",
            _hits(texture.texture_hits),
            direction="higher = more decisions for the texture",
            chance=world_of.CHANCE,
            unit=UNIT,
            role="companion",
        ),
    )

    def __init__(self, world: Annotated[str | Path | None, Holds("test.npy")] = None, **base: Any) -> None:
        super().__init__(**base)
        self.world = world_of.world_folder(world, self.key)
        self.set = world_of.world_set(self.world, PART, self.key)

    def stimuli(self) -> Iterator[Stimulus]:
        """All 960 images."""
        for index in range(len(self.set)):
            yield world_of.stimulus(self.world, PART, index)

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """The 16 shapes."""
        return world_of.prompts()

    def items(self, features: Features) -> Items:
        """One image each: the decision, the shape's class, and the class that the texture is typical of."""
        ids = [world_of.stimulus_id(PART, index) for index in range(len(self.set))]
        pairs = self.set.shape.astype(int) * world_of.CLASSES + self.set.texture
        return Items(
            {"choice": world_of.decisions(features, ids)},
            self.set.shape,
            ids,
            clusters={"class_pair": pairs},
            conditions={"texture": self.set.texture},
        )
