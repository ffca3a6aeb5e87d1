# SPDX-License-Identifier: Apache-2.0
"""A benchmark as the evaluation sees it."""

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
    layers_given: bool  # by the user, who is refused where the model lacks one
    tables: dict[str, tuple[str, ...]]  # values of the columns that scores are recorded by, once they are known
    scored: bool  # whether an event of this session had items
    adapted: tuple[ModelInfo, str | None] | None  # the model that it has adapted to, and what that returned
    null_reason: str | None  # why its scores are null for this model, once that is known

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
