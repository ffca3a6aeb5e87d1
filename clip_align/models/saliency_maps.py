# SPDX-License-Identifier: Apache-2.0
"""Where a model looks: maps [N, h, w] over the places of its input, from the model and normalized images [N, 3, S, S].

The input is square, and so are the maps: the patches of a transformer, the places of a convolutional stage, or the
pixels of the input. Nothing is normalized; a larger value means that the place counts more.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from clip_align.errors import RunError
from clip_align.models.attention import attention_weights
from clip_align.models.layers import encode_layers, layer_count, prefix_tokens

__all__ = ["attention_rollout", "input_gradient", "token_similarity"]


def token_similarity(model: nn.Module, images: torch.Tensor, layer: int | None = None) -> torch.Tensor:
    """Cosine of each place with what stands for the whole image, in one layer: [N, h, w], -1 to 1.

    Args:
        model: gives out its layers (`models.layers`), else RunError.
        images: [N, 3, S, S], normalized.
        layer: its number; None: the last one.

    The whole image is the class token; in towers without one, the mean over the places, which is what they pool. The
    first token of transformers with registers is the class token; registers are no places.
    """
    number = layer if layer is not None else layer_count(model) or 0
    found: dict[int, torch.Tensor] = {}
    encode_layers(model, images, [number], found.__setitem__)
    tokens, prefix = found[number].float(), prefix_tokens(model)  # [N, T, width]
    places = tokens[:, prefix:]
    whole = tokens[:, :1] if prefix else places.mean(dim=1, keepdim=True)
    return _square(torch.cosine_similarity(places, whole, dim=-1))


def attention_rollout(
    model: nn.Module,
    images: torch.Tensor,
    layer: int | None = None,
    dropped: float = 0.95,
    largest_head: bool = True,
) -> torch.Tensor:
    """Attention of the class token to each patch through all blocks: [N, h, w], at most 1.

    Args:
        model: a transformer that gives out its attention (`models.attention`), else RunError.
        images: [N, 3, S, S], normalized.
        layer: number of the last block that counts, from 1; None: all.
        dropped: fraction of the smallest weights of each block that count as 0, except those of the class token's row
            and column.
        largest_head: a weight is that of its largest head, else the mean of the heads.

    Abnar and Zuidema, ACL 2020, whose own form is ``dropped=0, largest_head=False``: half of each block is its input,
    (A + I) / 2, rows with the sum 1, multiplied over the blocks. Divided by the map's largest value.
    """
    rollout: list[torch.Tensor] = []

    def take(number: int, weights: torch.Tensor) -> None:
        if layer is not None and number > layer:
            return
        a = weights.float()  # [N, heads, T, T]
        a = _without_smallest(a.amax(dim=1) if largest_head else a.mean(dim=1), dropped)
        a = (a + torch.eye(a.shape[-1], device=a.device)) / 2
        a = a / a.sum(dim=-1, keepdim=True)
        rollout[:] = [a @ rollout[0] if rollout else a]  # only the product so far is kept

    attention_weights(model, images, take)
    if not rollout:
        raise RunError(f"attention rollout: blocks are numbered from 1, layer is {layer}")
    maps = rollout[0][:, 0, prefix_tokens(model) :]
    return _square(maps / maps.amax(dim=1, keepdim=True))


def input_gradient(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """How much each pixel changes the length of the embedding: squared gradient, summed over the channels, [N, S, S].

    Args:
        model: has ``encode_image``.
        images: [N, 3, S, S], normalized, that require gradients.

    Zeros where the embedding does not depend on the image.
    """
    embeddings: Any = model.encode_image(images)  # type: ignore[operator]
    if not embeddings.requires_grad:
        return torch.zeros_like(images[:, 0])
    (gradient,) = torch.autograd.grad(embeddings.float().norm(dim=1).sum(), images, allow_unused=True)
    return torch.zeros_like(images[:, 0]) if gradient is None else gradient.float().square().sum(dim=1)


def _without_smallest(weights: torch.Tensor, fraction: float) -> torch.Tensor:
    """Weights [N, T, T] with the smallest ``fraction`` of each matrix set to 0, but for the first row and column."""
    count = int(fraction * weights[0].numel())
    if not count:
        return weights
    flat = weights.flatten(1)
    smallest = flat.topk(count, dim=1, largest=False).indices
    kept = torch.ones_like(flat, dtype=torch.bool).scatter_(1, smallest, False).view_as(weights)
    kept[:, 0], kept[:, :, 0] = True, True
    return weights * kept


def _square(values: torch.Tensor) -> torch.Tensor:
    """[N, h * h] as [N, h, h]; RunError if it is no square."""
    side = math.isqrt(values.shape[1])
    if side * side != values.shape[1]:
        raise RunError(f"a layer has {values.shape[1]} places, which make no square map")
    return values.reshape(-1, side, side)
