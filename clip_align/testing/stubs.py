# SPDX-License-Identifier: Apache-2.0
"""Small models, a tokenizer and a record in memory, to evaluate a benchmark with in a test."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import Evaluator
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, Record

SIZE = 16  # of the stub model's input, in pixels
WORDS = 4096  # of the stub tokenizer; a word is one of them by its hash
PAD = 0


class StubModel(nn.Module):
    """A convolution and a projection for images, an embedding for words; with dropout, so that its mode shows."""

    def __init__(self, seed: int = 0, norm: Callable[[int], nn.Module] = lambda width: nn.GroupNorm(1, width)) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.tower = nn.Sequential(nn.Conv2d(3, 8, 4, 2), norm(8), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
            self.projection = nn.Linear(8 * 7 * 7, 12)
            self.words = nn.Embedding(WORDS, 12)
        visual: Any = nn.Identity()
        visual.image_size = SIZE
        self.visual = visual

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, 12] of images [N, 3, 16, 16]."""
        embedding: torch.Tensor = self.projection(self.tower(images))
        return embedding

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, 12] of token ids [N, context]: the mean over the words, padding left out."""
        there = (tokens != PAD).unsqueeze(-1)
        embedding: torch.Tensor = (self.words(tokens) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return embedding


class ConstantModel(StubModel):
    """Has not looked: the same embedding whatever it is shown."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Ones [N, 12]."""
        return torch.ones(len(images), 12)


class BrokenModel(StubModel):
    """Its weights are NaN."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """NaN [N, 12]."""
        return super().encode_image(images) * float("nan")


class Words:
    """Tokenizer: whole prompts as words hashed to numbers.

    Args:
        unknown: the words that it does not know; it knows all others.
        words: size of its vocabulary, with the padding.
        context_length: tokens of every text, the rest cut; None: as many as the longest text has words.
    """

    def __init__(self, unknown: Sequence[str] = (), words: int = WORDS, context_length: int | None = None) -> None:
        self._unknown, self._words, self.context_length = set(unknown), words, context_length

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Ids [N, context], padded with 0."""
        rows = [[1 + zlib.crc32(word.encode()) % (self._words - 1) for word in text.split()] for text in texts]
        context = self.context_length or max(map(len, rows), default=0)
        padded = [(row + [PAD] * context)[:context] for row in rows]
        return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), context)

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Words of the texts that it was told not to know, in order of appearance."""
        return [w for w in dict.fromkeys(word for text in texts for word in text.split()) if w in self._unknown]


class Memory:
    """A record kept in memory, as plain values."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.items: dict[tuple[str, int], Mapping[str, Any]] = {}

    def append(self, kind: str, where: Position, fields: Mapping[str, Any]) -> None:
        """Keep one line."""
        self.lines.append({"kind": kind, "global_step": where.global_step, **fields})

    def write_items(self, key: str, step: int, *columns: Any) -> None:
        """Keep the model's values of one event."""
        self.items[key, step] = columns[4]

    def items_differ(self, key: str, *columns: Any) -> Path | None:
        """No former run wrote here."""
        return None

    def close(self, status: str) -> None:
        """Nothing to close."""

    def scores(self, step: int = 0) -> dict[str, Any]:
        """The fields of the last evaluation at a step, times left out."""
        line = next(x for x in reversed(self.lines) if x["kind"] == "evaluation" and x["global_step"] == step)
        return {k: v for k, v in line.items() if not k.startswith("time/") and k not in ("kind", "global_step")}


def evaluated_model(model: nn.Module | None = None, tokenizer: Any = None) -> EvaluatedModel:
    """A model under evaluation, the stub one unless given."""
    return EvaluatedModel(model or StubModel(), SIZE, (0.5,) * 3, (0.25,) * 3, tokenizer or Words())


def evaluator(
    callbacks: Sequence[PerceptualCallback],
    whom: EvaluatedModel,
    cache: Path,
    ranks: Ranks | None = None,
    **settings: Any,
) -> tuple[Evaluator, Memory]:
    """A prepared session, and what it records.

    Args:
        callbacks: all evaluated with the same model.
        whom: that model.
        cache: folder for the images.
        ranks: of the process group; None: this process as it is.
        settings: further fields of `EvaluationSettings`.
    """
    ranks, record = ranks or Ranks(), Memory()
    given = EvaluationSettings(
        cache, record=cast("Record", record) if ranks.rank == 0 else None, **{"notify": lambda line: None, **settings}
    )
    made = Evaluator([(c, whom) for c in callbacks], given, ranks, lambda step: Position(step, 0, 0, 0.0))
    made.prepare(ranks.rank)
    return made, record


def evaluated(
    callbacks: Sequence[PerceptualCallback], whom: EvaluatedModel, cache: Path, **settings: Any
) -> dict[str, Any]:
    """All fields of one event; arguments as for `evaluator`."""
    made, record = evaluator(callbacks, whom, cache, **settings)
    made.evaluate(0, [c.key for c in callbacks], contextlib.nullcontext)
    return record.scores()


def on_ranks(world: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What ``work`` returns on each of ``world`` gloo ranks, or the text of what it raised.

    Forks: call it before torch has computed anything in this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_rank, args=(rank, world, Path(folder), work)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            if process.is_alive():
                process.kill()
                process.join()
        answers = [Path(folder) / f"{rank}.json" for rank in range(world)]
        return [json.loads(a.read_text()) if a.exists() else {"raised": "it hung, or was killed"} for a in answers]


def _rank(rank: int, world: int, folder: Path, work: Callable[[Ranks], Any]) -> None:
    torch.set_num_threads(1)
    try:
        if world > 1:
            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world
            )
        answer = work(Ranks())
    except Exception as error:
        answer = {"raised": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}
    (folder / f"{rank}.tmp").write_text(json.dumps(answer))
    os.replace(folder / f"{rank}.tmp", folder / f"{rank}.json")
