# SPDX-License-Identifier: Apache-2.0
"""The properties of the model under evaluation that a benchmark may adapt to."""

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
    layers: layers whose features are available: ``projection``, then the image tower's layers, numbered from 0.
    tokenizer: texts -> int64 [N, context]; None: prompts cannot be embedded.
    context_length: tokens of a text, start and end included; None if the tokenizer does not define it.
    patch_size: side in pixels of the patches that its image tower cuts the input into; None if it does not say.
    attention: whether the blocks of its image tower give out their attention weights.
    """

    image_size: int
    layers: tuple[Layer, ...]
    tokenizer: Callable[[list[str]], Any] | None = None
    context_length: int | None = None
    patch_size: int | None = None
    attention: bool = False

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Words of the texts that the tokenizer does not know, each once, in order of appearance.

        An empty list without a tokenizer, and for one that splits any word into known parts, as open_clip's do.
        """
        unknown: Callable[[list[str]], list[str]] | None = getattr(self.tokenizer, "unknown", None)
        return unknown(list(texts)) if unknown else []


def model_info(evaluated_model: EvaluatedModel) -> ModelInfo:
    """The `ModelInfo` of a model."""
    from clip_align.models.attention import attention_blocks
    from clip_align.models.layers import layer_count, patch_size

    count = layer_count(evaluated_model.model)
    numbers = range(count + 1) if count is not None else ()  # layer 0 is the embedding, layer ``count`` the last block
    context = getattr(evaluated_model.tokenizer, "context_length", None)
    return ModelInfo(
        evaluated_model.image_size,
        (PROJECTION, *numbers),
        evaluated_model.tokenizer,
        context if isinstance(context, int) else None,  # a tokenizer of the user's may hold anything there
        patch_size(evaluated_model.model),
        bool(attention_blocks(evaluated_model.model)),
    )
