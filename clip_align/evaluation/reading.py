# SPDX-License-Identifier: Apache-2.0
"""What is read out of a model: layers with all or some of their tokens, or maps that a benchmark's function makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from clip_align.errors import UserError
from clip_align.models.layers import layer_count, prefix_tokens

Layer = str | int
Tokens = Literal["all", "class", "mean"]
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
PROJECTION = "projection"
ALL = "all"


@dataclass(frozen=True)
class MapReader:
    """A function of the model and its input that makes maps: attention, similarity of tokens, gradients.

    maps: ``(model, images [B, 3, S, S])`` -> float [B, h, w]; the model is in evaluation mode.
    gradients: whether ``maps`` differentiates. Then gradients are enabled and ``images`` requires one; those that
        it leaves in the parameters are dropped.
    """

    maps: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    gradients: bool = False


@dataclass(frozen=True)
class Reading:
    """One thing to read from every image: ``projection``, a layer by its number, or maps.

    tokens: which of a layer's tokens: ``all`` in their order, the ``class`` token, the ``mean`` of the patches' tokens.
    """

    source: int | str | MapReader
    tokens: Tokens = "all"


def readings(
    key: str,
    layers: Sequence[Layer],
    tokens: Tokens,
    readers: Mapping[str, MapReader],
    model: nn.Module,
) -> dict[Layer, Reading]:
    """The readings of a benchmark by layer, ``all`` being every number there is.

    Args:
        key: the benchmark's, named in error messages.
        layers: ``projection``, numbers from 0, ``all``, names among ``readers``.
        tokens: which tokens of numbered layers.
        readers: the benchmark's own, by name.
        model: whose layers they are.

    UserError for a layer, or a class token, that the model does not have.
    """
    count = layer_count(model)
    wanted = [n for layer in layers for n in (range((count or 0) + 1) if layer == ALL else [layer])]
    numbers = [layer for layer in layers if layer == ALL or isinstance(layer, int)]
    wrong = [n for n in numbers if count is None or (n != ALL and not 0 <= int(n) <= count)]
    if wrong:
        has = f"layers 0 to {count}" if count else "no layers that it gives out"
        raise UserError(f"{key}: layers: no layer {wrong[0]}; this model's image tower has {has}")
    if numbers and tokens == "class" and not prefix_tokens(model):
        raise UserError(f"{key}: tokens is class, but this model's image tower has no class token; give all or mean")
    return {
        layer: Reading(readers[str(layer)])
        if layer in readers
        else Reading(layer, "all" if layer == PROJECTION else tokens)
        for layer in dict.fromkeys(wanted)
    }


def chosen_tokens(features: torch.Tensor, tokens: Tokens, prefix: int) -> torch.Tensor:
    """Of a layer's tokens [N, T, width] those asked for [N, T', width]; ``prefix``: tokens before the patches'."""
    if tokens == "class":
        return features[:, :1]
    return features[:, prefix:].float().mean(dim=1, keepdim=True) if tokens == "mean" else features
