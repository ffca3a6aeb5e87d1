# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on held-out images of the embedded world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.world_benchmark import WorldBenchmark, image_id
from clip_align.data.world.nearest_neighbour import nearest_neighbour_accuracy
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate

TEST, RANDOM = "test", "random_texture"


class World(WorldBenchmark):
    """Classification of held-out images into 16 shapes, by prompts averaged over templates.

    The set ``test`` has textures as in training, ``random_texture`` any texture on any shape, so that only shape is
    informative. No human data. Higher = better; chance 1/16 (of the known shapes); baseline: the nearest training image
    in pixels. ``world``: see `WorldBenchmark`.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = (TEST, RANDOM)

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Accuracy in each of the two sets."""
        nearest = nearest_neighbour_accuracy(self.world) if known.complete else None  # among all shapes
        return tuple(
            Score(
                "accuracy" if part == TEST else f"accuracy_{part}",
                "clean" if part == TEST else "random textures",
                partial(_accuracy, part=part),
                direction="higher = more images named rightly",
                chance=known.chance,
                unit=known.unit(f"{np.count_nonzero(known.among(held_out.shape))} images, Wilson"),
                # nearest neighbours are sought for the set ``test`` only
                baselines={} if part != TEST or nearest is None else {"nearest neighbour in pixels": nearest},
                role="headline" if part == TEST else "companion",
                higher_is_better=True,
            )
            for part, held_out in self.sets.items()
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """The images of both sets."""
        for part in self.parts:
            for index in self.rows(part).tolist():
                yield self.stimulus(part, index)

    def items(self, features: Features) -> Items:
        """One item per image: the decision, and the correct shape."""
        rows = {part: self.rows(part) for part in self.parts}
        ids = [image_id(part, index) for part, some in rows.items() for index in some.tolist()]
        return Items(
            {"choice": self.decisions(features, ids)},
            np.concatenate([self.sets[part].shape[some] for part, some in rows.items()]),
            ids,
            conditions={
                "set": np.repeat(list(rows), [len(some) for some in rows.values()]),
                "texture": np.concatenate([self.sets[part].texture[some] for part, some in rows.items()]),
            },
        )


def _accuracy(items: Items, part: str) -> Estimate:
    of_part = items.where(items.conditions["set"] == part)  # both sets are in one table of items
    return accuracy(of_part.model["choice"], of_part.human)
