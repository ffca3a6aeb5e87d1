# SPDX-License-Identifier: Apache-2.0
"""Readings: what is read from a model: the projection, tokens of a layer, or maps computed by a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from clip_align.errors import UserError, option_problem
from clip_align.models.layers import layer_count, prefix_tokens

Layer = str | int
Tokens = Literal["all", "class", "mean"]
TOKENS: tuple[Tokens, ...] = get_args(Tokens)
PROJECTION = "projection"
ALL = "all"


@dataclass(frozen=True)
class MapReader:
    """A function that computes maps from the model and its input: attention, similarity of tokens, gradients.

    maps: ``(model, images [B, 3, S, S])`` -> float [B, h, w]; the model is in evaluation mode.
    gradients: whether ``maps`` needs gradients. They are then enabled and ``images`` requires them; gradients of the
        parameters are discarded afterwards.
    """

    maps: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    gradients: bool = False


@dataclass(frozen=True)
class Reading:
    """What is read for every image. source: ``projection``, a layer by its number, or maps.

    tokens: of a layer: ``all`` in their order, the ``class`` token, or the ``mean`` of the patch tokens.
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
    """The readings of a benchmark by layer; ``all`` is replaced by every layer number of the model.

    Args:
        key: the benchmark's, named in error messages.
        layers: ``projection``, numbers from 0, ``all``, names among ``readers``.
        tokens: which tokens of numbered layers.
        readers: the benchmark's own, by name; one named like a layer (``"3"``, ``"projection"``) is read in its place.
        model: the model under evaluation.

    UserError for a layer or a class token that the model does not have.
    """
    count = layer_count(model)
    # a model without accessible layers: ``all`` becomes layer 0 and is refused below
    wanted = [n for layer in layers for n in (range((count or 0) + 1) if layer == ALL else [layer])]
    numbers = [layer for layer in layers if layer == ALL or isinstance(layer, int)]
    wrong = [n for n in numbers if count is None or (n != ALL and not 0 <= int(n) <= count)]
    if wrong:
        has = f"layers 0 to {count}" if count else "no accessible layers"
        raise UserError(
            option_problem(key, "layers", f"layers: no layer {wrong[0]}; this model's image tower has {has}")
        )
    if numbers and tokens == "class" and not prefix_tokens(model):
        raise UserError(
            option_problem(
                key, "tokens", "tokens is class, but this model's image tower has no class token; give all or mean"
            )
        )
    return {
        layer: Reading(readers[str(layer)])
        if str(layer) in readers  # by its name, or a layer's number
        else Reading(layer, "all" if layer == PROJECTION else tokens)
        for layer in dict.fromkeys(wanted)  # ``[all, 3]`` reads layer 3 once
    }


def chosen_tokens(features: torch.Tensor, tokens: Tokens, prefix: int) -> torch.Tensor:
    """Select tokens of a layer: [N, T', width].

    Args:
        features: [N, T, width].
        tokens: ``all``, ``class`` (the first one) or ``mean`` (of the patch tokens, in float32).
        prefix: number of tokens before the patch tokens.
    """
    if tokens == "class":
        return features[:, :1]  # registers, if any, stand behind it
    return features[:, prefix:].float().mean(dim=1, keepdim=True) if tokens == "mean" else features
