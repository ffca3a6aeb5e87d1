# SPDX-License-Identifier: Apache-2.0
"""A benchmark as the evaluation sees it, and how it introduces itself in the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.reading import Layer, MapReader, Tokens
from clip_align.evaluation.score import Panel, Score
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.evaluation.weights import RAW


class Benchmark(Protocol):
    """Stimuli, items and scores under one key; pure: no model, rank, step or logger in sight."""

    family: ClassVar[str]
    version: ClassVar[int]
    human_data: ClassVar[str]
    stand_in: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    scores: Sequence[Score]
    tiles: int
    full_precision: bool
    every_n_steps: int
    view: View | None
    layers: tuple[Layer, ...]
    tokens: Tokens
    readers: Mapping[str, MapReader]
    batch_size: int | None

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def shown_in(self) -> Panel: ...  # noqa: D102
    def stimuli(self) -> Iterable[Stimulus]: ...  # noqa: D102
    def pairs(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102
    def prompts(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102
    def items(self, features: Features) -> Items: ...  # noqa: D102


def described(benchmark: Benchmark, n: int | None, weights: str = RAW) -> dict[str, Any]:
    """The fields of its ``kind: benchmark`` line: all that a report needs to draw and to explain it.

    ``n``: number of items, None where they could not be had yet. ``weights``: the set that plain keys are of.
    """
    scores = []
    for score in benchmark.scores:
        fields = {name: value for name, value in vars(score).items() if name != "compute"}
        fields.update(axis=list(score.axis), ceilings=dict(score.ceilings), baselines=dict(score.baselines))
        scores.append(fields)
    return {
        "key": benchmark.key,
        "version": benchmark.version,
        "human_data": benchmark.human_data,
        "stand_in": benchmark.stand_in,
        "source": benchmark.source,
        "licence": benchmark.licence,
        "options": {**benchmark.options, "every_n_steps": benchmark.every_n_steps},  # a verdict asks for it
        "n": n,
        "weights": weights,
        "panel": benchmark.shown_in,
        "scores": scores,
    }
