# SPDX-License-Identifier: Apache-2.0
"""A human benchmark of eight pairs that needs no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.metrics.correlation import srocc
from clip_align.metrics.estimate import Estimate


def noise(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


class HumanStub(PerceptualCallback):
    """Opinions made up; the model's value is minus the distance of two embeddings."""

    family: ClassVar = "human"
    version: ClassVar = 1

    def __init__(self, name: str | None = None, every_n_steps: int = 100) -> None:
        super().__init__(name=name, every_n_steps=every_n_steps)
        self.scores = (
            Score(
                "srocc",
                "SROCC",
                lambda items: Estimate(srocc(items.model["value"], items.human)),
                "higher = better",
                higher_is_better=True,
            ),
        )

    def stimuli(self) -> Iterator[Stimulus]:
        for number in range(16):
            yield Stimulus(f"stub/{number}", partial(noise, number), "native")

    def items(self, features: Features) -> Items:
        first = features[[f"stub/{i}" for i in range(0, 16, 2)]][:, 0]
        second = features[[f"stub/{i}" for i in range(1, 16, 2)]][:, 0]
        return Items(-np.linalg.norm(first - second, axis=1), np.arange(8.0))  # type: ignore[arg-type]

    def add_baselines(self, more: Mapping[str, Mapping[str, float]]) -> None:
        self.scores = tuple(replace(s, baselines={**s.baselines, **more.get(s.name, {})}) for s in self.scores)
