# SPDX-License-Identifier: Apache-2.0
"""The interface of a benchmark that the evaluation relies on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.reading import Layer, MapReader, Tokens
from clip_align.evaluation.score import Panel, Score
from clip_align.evaluation.stimulus import Stimulus, View


class Benchmark(Protocol):
    """Stimuli, items and scores under one key; independent of model, rank, step and logger."""

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
    layers_given: bool  # whether the user set ``layers``: then a layer that the model lacks is an error
    tables: dict[str, tuple[str, ...]]  # values of the columns named by ``by`` of scores, once known
    scored: bool  # whether an event of this evaluator had items
    adapted: tuple[ModelInfo, str | None] | None  # the model it adapted to, and the reason returned
    null_reason: str | None  # why its scores are null for this model; set by `prepare.planned`

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def shown_in(self) -> Panel: ...  # noqa: D102
    def adapt(self, model: ModelInfo) -> str | None: ...  # noqa: D102
    def stimuli(self) -> Iterable[Stimulus]: ...  # noqa: D102
    def pairs(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102
    def prompts(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102
    def items(self, features: Features) -> Items: ...  # noqa: D102
