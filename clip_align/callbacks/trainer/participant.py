# SPDX-License-Identifier: Apache-2.0
"""A benchmark in a training, and which model it is evaluated with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from pytorch_lightning import LightningModule
from torch import nn

from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.evaluation.evaluator import EvaluationSettings

_NOTHING_OWN = (None, None, None, None)


class Participant(Benchmark, Protocol):
    """A benchmark in a training: its settings, the model under evaluation and the last evaluated step."""

    settings: EvaluationSettings | None
    last_step: int | None
    carried: Mapping[str, Any]
    model: nn.Module | None
    tokenizer: Callable[[list[str]], torch.Tensor] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None


def with_models(
    callbacks: Sequence[Participant], module: LightningModule, common: EvaluatedModel | None
) -> list[tuple[Participant, EvaluatedModel]]:
    """The callbacks with the model under evaluation of each; one object per model, so that each is encoded once.

    Args:
        callbacks: what they specify about their model themselves comes first.
        module: the training, in which the model is found if nothing else names it.
        common: the model of all callbacks that specify nothing; None: found in ``module``.
    """
    known: dict[tuple[Any, ...], EvaluatedModel] = {}
    for callback in callbacks:
        own = _own(callback)
        if own not in known:
            known[own] = _evaluated_model(callback, module, common)
    return [(callback, known[_own(callback)]) for callback in callbacks]


def _evaluated_model(callback: Participant, module: LightningModule, common: EvaluatedModel | None) -> EvaluatedModel:
    if common is not None and _own(callback) == _NOTHING_OWN:
        return common
    found = common if callback.model is None else None
    return find_model(
        module,
        model=callback.model if found is None else found.model,
        tokenizer=callback.tokenizer or (found.tokenizer if found else None),
        mean=found.mean if found and callback.mean is None else callback.mean,
        std=found.std if found and callback.std is None else callback.std,
    )


def _own(callback: Participant) -> tuple[Any, ...]:
    """What the callback itself specifies about its model: model, tokenizer, mean and std; None where it does not."""
    mean = tuple(callback.mean) if callback.mean is not None else None
    std = tuple(callback.std) if callback.std is not None else None
    model = None if callback.model is None else id(callback.model)
    return model, None if callback.tokenizer is None else id(callback.tokenizer), mean, std
