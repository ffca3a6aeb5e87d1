# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on held-out images of the embedded world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks import world_stimuli as world_of
from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate
from clip_align.structure import Holds

TEST, RANDOM = "test", "random_texture"


class World(PerceptualCallback):
    """Which of the 16 shapes is it? Asked by prompts, averaged over templates, about images never trained on.

    ``test`` has textures as in training, ``random_texture`` any texture on any shape: there only shape helps.
    No human data. Higher = better; chance 1/16; baseline: the nearest training image in pixels.
    ``world``: folder of the held-out sets; None: the default world's, made in the user's cache.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "rendered shapes, not photographs"
    source: ClassVar[str] = world_of.SOURCE
    licence: ClassVar[str] = world_of.LICENCE

    def __init__(self, world: Annotated[str | Path | None, Holds("test.npy")] = None, **base: Any) -> None:
        super().__init__(**base)
        self.world = world_of.world_folder(world, self.key)
        self.sets = {part: world_of.world_set(self.world, part, self.key) for part in (TEST, RANDOM)}
        self.scores = tuple(_score(part, len(held_out), self.world) for part, held_out in self.sets.items())

    def stimuli(self) -> Iterator[Stimulus]:
        """The images of both sets."""
        for part, held_out in self.sets.items():
            for index in range(len(held_out)):
                yield world_of.stimulus(self.world, part, index)

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """The 16 shapes."""
        return world_of.prompts()

    def items(self, features: Features) -> Items:
        """One image each: the decision, and the right shape."""
        parts = [part for part, held_out in self.sets.items() for _ in range(len(held_out))]
        ids = [world_of.stimulus_id(part, i) for part, held_out in self.sets.items() for i in range(len(held_out))]
        return Items(
            {"choice": world_of.decisions(features, ids)},
            np.concatenate([held_out.shape for held_out in self.sets.values()]),
            ids,
            conditions={
                "set": np.asarray(parts),
                "texture": np.concatenate([held_out.texture for held_out in self.sets.values()]),
            },
        )


def _score(part: str, n: int, folder: Path) -> Score:
    return Score(
        "accuracy" if part == TEST else f"accuracy_{part}",
        "clean" if part == TEST else "random textures",
        partial(_accuracy, part=part),
        direction="higher = more images named rightly",
        chance=world_of.CHANCE,
        unit=f"{n} images, Wilson",
        baselines=world_of.baselines(folder) if part == TEST else {},
        role="headline" if part == TEST else "companion",
        higher_is_better=True,
    )


def _accuracy(items: Items, part: str) -> Estimate:
    rows = items.conditions["set"] == part
    return accuracy(items.model["choice"][rows], items.human[rows])
