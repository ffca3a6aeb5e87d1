# SPDX-License-Identifier: Apache-2.0
"""Small models, images and benchmarks for tests of evaluations; also runs one on several gloo ranks."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from random_images import random_image
from torch import nn

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Stimulus
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import EvaluationSettings, Evaluator
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position

SIZE = 16


class StubModel(nn.Module):
    """A convolution and a projection for images, an embedding for words; with dropout, so that its mode shows."""

    def __init__(self, seed: int = 0, norm: Callable[[int], nn.Module] = lambda width: nn.GroupNorm(1, width)) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.tower = nn.Sequential(nn.Conv2d(3, 8, 4, 2), norm(8), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
            self.projection = nn.Linear(8 * 7 * 7, 12)
            self.words = nn.Embedding(64, 12)
        self.visual = nn.Identity()
        self.visual.image_size = SIZE

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.projection(self.tower(images))
        return embedding

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.words(tokens).mean(dim=1)
        return embedding


class ConstantModel(StubModel):
    """Has not looked: the same embedding whatever it is shown."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), 12)


class BrokenModel(StubModel):
    """Its weights are NaN."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode_image(images) * float("nan")


class Words:
    """Tokenizer: words hashed to numbers; knows all words but those it was told not to know."""

    def __init__(self, unknown: Sequence[str] = ()) -> None:
        self._unknown = set(unknown)

    def __call__(self, texts: list[str]) -> torch.Tensor:
        rows = [[zlib.crc32(w.encode()) % 64 for w in text.split()][:4] for text in texts]
        return torch.tensor([row + [0] * (4 - len(row)) for row in rows])

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return [w for w in dict.fromkeys(word for text in texts for word in text.split()) if w in self._unknown]


def evaluated_model(model: nn.Module | None = None, tokenizer: Any = None) -> EvaluatedModel:
    return EvaluatedModel(model or StubModel(), SIZE, (0.5,) * 3, (0.25,) * 3, tokenizer or Words())


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
    """Twelve of the same images, asked by prompts."""

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


class Memory:
    """A record kept in memory, as plain values."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.items: dict[tuple[str, int], Mapping[str, Any]] = {}

    def append(self, kind: str, where: Position, fields: Mapping[str, Any]) -> None:
        self.lines.append({"kind": kind, "global_step": where.global_step, **fields})

    def write_items(self, key: str, step: int, *columns: Any) -> None:
        self.items[key, step] = columns[4]

    def close(self, status: str) -> None:
        pass

    def scores(self, step: int = 0) -> dict[str, Any]:
        line = next(x for x in reversed(self.lines) if x["kind"] == "evaluation" and x["global_step"] == step)
        return {k: v for k, v in line.items() if not k.startswith("time/") and k not in ("kind", "global_step")}


def where(step: int) -> Position:
    return Position(step, 0, 0, 0.0)


def evaluator(
    callbacks: Sequence[PerceptualCallback],
    whom: EvaluatedModel,
    cache: Path,
    ranks: Ranks | None = None,
    **settings: Any,
) -> tuple[Evaluator, Memory]:
    """A prepared session of callbacks that all ask the same subject, and what it records."""
    ranks, record = ranks or Ranks(), Memory()
    given = EvaluationSettings(cache, record=record if ranks.rank == 0 else None, notify=lambda line: None, **settings)  # type: ignore[arg-type]
    made = Evaluator([(c, whom) for c in callbacks], given, ranks, where)
    made.prepare(ranks.rank)
    return made, record


def evaluated(
    callbacks: Sequence[PerceptualCallback], whom: EvaluatedModel, cache: Path, **settings: Any
) -> dict[str, Any]:
    """All fields of one event of all callbacks."""
    made, record = evaluator(callbacks, whom, cache, **settings)
    made.evaluate(0, [c.key for c in callbacks], contextlib.nullcontext)
    return record.scores()
