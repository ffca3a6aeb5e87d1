# SPDX-License-Identifier: Apache-2.0
"""What a benchmark may know of the model under evaluation before it names its stimuli."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.reading import PROJECTION, Layer


@dataclass(frozen=True)
class ModelInfo:
    """The model under evaluation, as `PerceptualCallback.adapt` sees it.

    image_size: side of its square input in pixels.
    layers: what features can be had from: ``projection``, then the numbers of the image tower's layers from 0.
    tokenizer: texts -> int64 [N, context]; None where prompts cannot be embedded.
    context_length: tokens of a text, start and end included; None where the tokenizer does not say.
    """

    image_size: int
    layers: tuple[Layer, ...]
    tokenizer: Callable[[list[str]], Any] | None = None
    context_length: int | None = None

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Words of the texts that the tokenizer does not know, each once, in order of appearance.

        None for a tokenizer that splits any word into parts it knows, as open_clip's do, and without a tokenizer.
        """
        ask: Callable[[list[str]], list[str]] | None = getattr(self.tokenizer, "unknown", None)
        return ask(list(texts)) if ask else []


def model_info(evaluated_model: EvaluatedModel) -> ModelInfo:
    """What a benchmark may know of ``evaluated_model``."""
    from clip_align.models.layers import layer_count

    count = layer_count(evaluated_model.model)
    numbers = range(count + 1) if count is not None else ()
    context = getattr(evaluated_model.tokenizer, "context_length", None)
    context = context if isinstance(context, int) else None
    return ModelInfo(evaluated_model.image_size, (PROJECTION, *numbers), evaluated_model.tokenizer, context)
