# SPDX-License-Identifier: Apache-2.0
"""The model under evaluation, with its input size, normalization and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clip_align.errors import Problem, UserError

Triple = tuple[float, float, float]
OPENAI_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)  # Radford et al. 2021, released preprocessing
OPENAI_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
OPENAI_WORDS = 49_408  # size of the byte-pair vocabulary of the same release


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """The model under evaluation, as benchmarks see it.

    model: has ``encode_image`` ([N, 3, S, S] -> [N, D]) and, where prompts are used, ``encode_text``.
    image_size: S in pixels.
    mean, std: normalization of the channels, on [0, 1].
    tokenizer: texts -> int64 [N, context]; None: prompts cannot be embedded. May have a method
        ``unknown(texts)`` that returns the words it does not know.
    warnings: assumptions made about the model, a line each.
    no_tokenizer: without a tokenizer, the reason and the remedy.
    """

    model: nn.Module
    image_size: int
    mean: Triple
    std: Triple
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None
    warnings: tuple[str, ...] = ()
    no_tokenizer: str = "its prompts need a tokenizer; pass tokenizer=…"


class OpenClipTokenizer:
    """open_clip's byte-pair tokenizer, imported when the first text is tokenized: few benchmarks have prompts."""

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length
        self._tokenizer: Callable[[list[str]], torch.Tensor] | None = None

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Texts as int64 [N, context]."""
        if self._tokenizer is None:
            from open_clip import SimpleTokenizer  # slow to import

            self._tokenizer = SimpleTokenizer(context_length=self.context_length)
        return self._tokenizer(texts)


def find_model(
    module: nn.Module,
    *,
    model: nn.Module | None = None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> EvaluatedModel:
    """Find the model under evaluation in a training module. UserError if there is none, or more than one.

    Args:
        module: the LightningModule, or the model itself.
        model: the model under evaluation; default: ``module`` or its only child with ``encode_image``.
        tokenizer: texts to int64 [N, context]; default: open_clip's if the model has its vocabulary, else none.
        mean, std: of the channels, on [0, 1]; default: those of ``model.visual``, else OpenAI's, with a warning.

    The input size is ``model.visual.image_size``.
    """
    found = _with_encode_image(module) if model is None else model
    if not hasattr(found, "encode_image"):
        raise UserError(
            Problem("model", f"{type(found).__name__} has no encode_image; pass the callback a model=… that has")
        )
    visual: Any = getattr(found, "visual", None)  # open_clip's name of the image tower, which knows its input
    warnings = []
    mean = mean if mean is not None else getattr(visual, "image_mean", None)
    std = std if std is not None else getattr(visual, "image_std", None)
    if mean is None or std is None:
        warnings.append("the model does not define how its images are normalized: OpenAI's mean and std are used")
        mean, std = OPENAI_MEAN if mean is None else mean, OPENAI_STD if std is None else std
    size, mean, std = _image_size(found, visual), _triple(mean), _triple(std)
    if tokenizer is not None:
        return EvaluatedModel(found, size, mean, std, tokenizer, tuple(warnings))
    why = why_no_tokenizer(found)
    if why is None:
        own = OpenClipTokenizer(int(getattr(found, "context_length", None) or 77))  # 77: CLIP's own context
        return EvaluatedModel(found, size, mean, std, own, tuple(warnings))
    return EvaluatedModel(found, size, mean, std, None, tuple(warnings), why)


def why_no_tokenizer(model: nn.Module) -> str | None:
    """Why a model's prompts cannot be embedded unless a tokenizer is given; None where open_clip's is its own."""
    words = _vocabulary_size(model)
    if words == OPENAI_WORDS:  # another size: ids would select other words' embeddings, without an error
        return None
    what = f"its prompts need a tokenizer, and a vocabulary of {words} words is not open_clip's ({OPENAI_WORDS})"
    return f"{what}; pass the callback tokenizer=…"


def _with_encode_image(module: nn.Module) -> nn.Module:
    if hasattr(module, "encode_image"):
        return module
    names = [name for name, child in module.named_children() if hasattr(child, "encode_image")]
    if len(names) == 1:
        return module.get_submodule(names[0])
    raise UserError(
        Problem(
            "model",
            f"{type(module).__name__} has {len(names) or 'no'} children with encode_image"
            f"{' (' + ', '.join(names) + ')' if names else ''}, one is needed; pass the callback model=…",
        )
    )


def _image_size(model: nn.Module, visual: Any) -> int:
    size = getattr(visual, "image_size", None)  # open_clip's towers have either an int or a pair
    if isinstance(size, tuple | list):
        if len(set(size)) != 1:
            raise UserError(
                Problem("model", f"visual.image_size is {tuple(size)}; only square inputs can be evaluated")
            )
        size = size[0]
    if not isinstance(size, int):
        raise UserError(
            Problem("model", f"{type(model).__name__} has no visual.image_size; set it to the input size in pixels")
        )
    return size


def _triple(values: Sequence[float] | float) -> Triple:
    if isinstance(values, int | float):  # one number for all channels
        return (float(values),) * 3
    triple = tuple(float(v) for v in values)
    if len(triple) != 3:
        raise UserError(Problem("model", f"mean and std need three channels, got {triple}"))
    return triple


def _vocabulary_size(model: nn.Module) -> int | None:
    words = getattr(model, "vocab_size", None)
    # on the model itself, or on a text tower of its own (open_clip's CustomTextCLIP); the table's size is what counts
    for holder in (model, getattr(model, "text", None)):
        embedding = getattr(holder, "token_embedding", None)
        words = embedding.num_embeddings if isinstance(embedding, nn.Embedding) else words
    return words
