# SPDX-License-Identifier: Apache-2.0
"""Small models, a tokenizer and a record in memory, for tests that evaluate a benchmark."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import Evaluator
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position
from clip_align.structure import key

SIZE = 16  # side of the stub model's input in px
WORDS = 4096  # vocabulary of the stub tokenizer; words are hashed into it
PAD = 0


class StubModel(nn.Module):
    """A convolution and a projection for images, an embedding for words; dropout makes training mode visible.

    Args:
        seed: of the weights.
        norm: of the convolution's 8 channels.
        size: side of the input in px, at least 4.
        words: vocabulary, including padding.
    """

    def __init__(
        self,
        seed: int = 0,
        norm: Callable[[int], nn.Module] = lambda width: nn.GroupNorm(1, width),
        size: int = SIZE,
        words: int = WORDS,
    ) -> None:
        super().__init__()
        side = (size - 4) // 2 + 1  # of the convolution's map
        with torch.random.fork_rng():  # the caller's random state stays
            torch.manual_seed(seed)
            self.tower = nn.Sequential(nn.Conv2d(3, 8, 4, 2), norm(8), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
            self.projection = nn.Linear(8 * side * side, 12)
            self.words = nn.Embedding(words, 12)
        visual: Any = nn.Identity()
        visual.image_size = size  # where `find_model` looks for it
        self.visual = visual

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, 12] of images [N, 3, size, size]."""
        embedding: torch.Tensor = self.projection(self.tower(images))
        return embedding

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, 12] of token ids [N, context]: the mean over the words, padding left out."""
        there = (tokens != PAD).unsqueeze(-1)  # bool [N, context, 1]
        # clamp: an empty text has the embedding 0
        embedding: torch.Tensor = (self.words(tokens) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return embedding


class ConstantModel(StubModel):
    """The same embedding for every image."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Ones [N, 12]."""
        return torch.ones(len(images), 12)


class BrokenModel(StubModel):
    """Embeddings that are NaN, as after a diverged training."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """NaN [N, 12]."""
        return super().encode_image(images) * float("nan")


class Words:
    """Tokenizer: whole prompts as words hashed to numbers.

    Args:
        unknown: unknown words; all others are known.
        words: size of the vocabulary, including padding.
        context_length: tokens per text, longer ones are cut; None: the number of words of the longest text.
    """

    def __init__(self, unknown: Sequence[str] = (), words: int = WORDS, context_length: int | None = None) -> None:
        self._unknown, self._words, self.context_length = set(unknown), words, context_length

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Ids [N, context], padded with 0."""
        # 1 + …: 0 is the padding
        rows = [[1 + zlib.crc32(word.encode()) % (self._words - 1) for word in text.split()] for text in texts]
        context = self.context_length or max(map(len, rows), default=0)
        padded = [(row + [PAD] * context)[:context] for row in rows]
        return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), context)

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """The unknown words of the texts, in order of appearance."""
        return [w for w in dict.fromkeys(word for text in texts for word in text.split()) if w in self._unknown]


@dataclass(frozen=True)
class Stub:
    """The model that the battery evaluates a benchmark with.

    size: side of its input in px. words: vocabulary, including padding; words are hashed into it. context_length:
    tokens per text; None: as many as the longest text has. unknown: words that its tokenizer does not know.
    """

    size: int = key(SIZE, low=4)
    words: int = key(WORDS, low=2)
    context_length: int | None = key(None, low=1)
    unknown: tuple[str, ...] = ()

    def tokenizer(self) -> Words:
        """Its tokenizer."""
        return Words(self.unknown, self.words, self.context_length)

    def evaluated(self, kind: type[StubModel] = StubModel) -> EvaluatedModel:
        """The model under evaluation: a `StubModel`, or one of the models that know nothing."""
        model = kind(size=self.size, words=self.words)
        return EvaluatedModel(model, self.size, (0.5,) * 3, (0.25,) * 3, self.tokenizer())


class Memory:
    """A record in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.items: dict[tuple[str, int], Mapping[str, Any]] = {}

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Store one line; arguments as for `Record.append`."""
        self.lines.append({"kind": kind, "global_step": position.global_step, **fields})

    def write_items(self, key: str, step: int, *columns: Any) -> None:
        """Store the model's values of one event."""
        self.items[key, step] = columns[4]  # after ids, clusters, conditions, human: ``model``

    def items_differ(self, key: str, *columns: Any) -> Path | None:
        """None: there is no earlier run."""
        return None

    def close(self, status: str) -> None:
        """Nothing to close."""

    def scores(self, step: int = 0) -> dict[str, Any]:
        """The fields of the last evaluation at a step, without times."""
        line = next(x for x in reversed(self.lines) if x["kind"] == "evaluation" and x["global_step"] == step)
        return {k: v for k, v in line.items() if not k.startswith("time/") and k not in ("kind", "global_step")}


def evaluated_model(model: nn.Module | None = None, tokenizer: Any = None) -> EvaluatedModel:
    """A model under evaluation; default: the stub model."""
    return EvaluatedModel(model or StubModel(), SIZE, (0.5,) * 3, (0.25,) * 3, tokenizer or Words())


def evaluator(
    callbacks: Sequence[PerceptualCallback],
    model: EvaluatedModel,
    cache: Path,
    ranks: Ranks | None = None,
    **settings: Any,
) -> tuple[Evaluator, Memory]:
    """A prepared evaluator, and the record that it writes to.

    Args:
        callbacks: all evaluated with ``model``.
        model: the model under evaluation.
        cache: folder for the images.
        ranks: the process group; None: that of this process.
        settings: further fields of `EvaluationSettings`; a ``record`` is written to instead of the one returned.
    """
    ranks, record = ranks or Ranks(), Memory()
    mine = {"record": record if ranks.rank == 0 else None, "notify": lambda line: None}
    given = EvaluationSettings(cache, **{**mine, **settings})
    made = Evaluator([(c, model) for c in callbacks], given, ranks, lambda step: Position(step, 0, 0, 0.0))
    made.prepare(ranks.rank)
    return made, record


def evaluated(
    callbacks: Sequence[PerceptualCallback], model: EvaluatedModel, cache: Path, **settings: Any
) -> dict[str, Any]:
    """All fields of one event.

    Args:
        callbacks, model, cache, settings: as for `evaluator`.
    """
    made, record = evaluator(callbacks, model, cache, **settings)
    made.evaluate(0, [c.key for c in callbacks], contextlib.nullcontext)
    return record.scores()
