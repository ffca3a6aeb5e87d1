# SPDX-License-Identifier: Apache-2.0
"""The shipped stubs under one name, and small benchmarks for tests of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import nn

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Stimulus
from clip_align.evaluation.evaluated_model import EvaluatedModel as EvaluatedModel
from clip_align.testing.random_images import random_image
from clip_align.testing.stubs import SIZE as SIZE
from clip_align.testing.stubs import BrokenModel as BrokenModel
from clip_align.testing.stubs import ConstantModel as ConstantModel
from clip_align.testing.stubs import Memory as Memory
from clip_align.testing.stubs import StubModel as StubModel
from clip_align.testing.stubs import Words as ShippedWords
from clip_align.testing.stubs import evaluated as evaluated
from clip_align.testing.stubs import evaluated_model as shipped_subject
from clip_align.testing.stubs import evaluator as evaluator


class Words(ShippedWords):
    """As small as the text towers of small open_clip models ask."""

    def __init__(self, unknown: Sequence[str] = ()) -> None:
        super().__init__(unknown, words=64, context_length=4)


def evaluated_model(model: nn.Module | None = None, tokenizer: Any = None) -> EvaluatedModel:
    return shipped_subject(model, tokenizer or Words())


class Pairs(PerceptualCallback):
    """Eight pairs of random images with made-up opinions."""

    family: ClassVar[str] = "human"
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "random images"
    source: ClassVar[str] = "this test"
    licence: ClassVar[str] = "Apache-2.0"

    def __init__(self, pairs: int = 8, prefix: str = "pairs", **base: Any) -> None:
        super().__init__(**{"name": "pairs", **base})
        self.ids = [[f"{prefix}/{side}{i}" for i in range(pairs)] for side in "ab"]

    def stimuli(self) -> Iterable[Stimulus]:
        for name in (*self.ids[0], *self.ids[1]):
            yield Stimulus(name, partial(random_image, name), places=name)

    def items(self, features: Features) -> Items:
        a, b = (features[ids] for ids in self.ids)
        distance = np.linalg.norm(a.astype(np.float64) - b, axis=-1).mean(axis=1)
        return Items(-distance, np.arange(len(distance)) % 5)


class Named(PerceptualCallback):
    """Twelve of the same images, decided by prompts."""

    family: ClassVar[str] = "zero_shot"

    def __init__(self, **base: Any) -> None:
        super().__init__(**{"name": "named", "tokenizer": Words(), **base})
        self.ids = [f"pairs/a{i}" for i in range(6)] + [f"named/{i}" for i in range(6)]

    def stimuli(self) -> Iterable[Stimulus]:
        for name in self.ids:
            yield Stimulus(name, partial(random_image, name), places=name)

    def prompts(self) -> Mapping[str, Sequence[str]]:
        return {name: [f"a {name}", f"the {name} here"] for name in ("star", "disc", "ring")}

    def items(self, features: Features) -> Items:
        best = (features[self.ids].mean(axis=1) @ features.prompts.T).max(axis=1)
        return Items(best, np.arange(len(best)))


class Wants(Pairs):
    """Has an argument that the training gives."""

    def __init__(self, world: Any = None, **base: Any) -> None:
        super().__init__(**base)
        self.world = world
