# SPDX-License-Identifier: Apache-2.0
"""Attention weights of an image tower's transformer blocks, handed over one by one in a single pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from clip_align.errors import RunError
from clip_align.models.layers import prefix_tokens

__all__ = ["attention_blocks", "attention_weights"]


def attention_blocks(model: nn.Module) -> Sequence[nn.MultiheadAttention]:
    """The self-attention of each block of the model's image tower, the first one first; empty where it gives none out.

    open_clip's own vision transformers do; towers of timm, convolutional ones and the tiny model do not.
    """
    visual: Any = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    found = [block.attn for block in blocks if isinstance(getattr(block, "attn", None), nn.MultiheadAttention)]
    return found if found and len(found) == len(blocks) and prefix_tokens(model) else []


def attention_weights(model: nn.Module, images: torch.Tensor, take: Callable[[int, torch.Tensor], None]) -> None:
    """Encode the images; the weights of each block go to ``take`` as soon as they are there.

    Args:
        model: one with `attention_blocks`, else RunError.
        images: [N, 3, S, S], normalized.
        take: called with a block's number, from 1, and its weights [N, heads, T, T] after the softmax: row t says from
            which tokens token t takes. The class token is the first one.
    """
    attentions = attention_blocks(model)
    if not attentions:
        raise RunError(f"{type(model).__name__}'s image tower gives out no attention weights")

    def wanted(_: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**options, "need_weights": True, "average_attn_weights": False}

    with ExitStack() as hooks:  # removed also if the model raises
        for number, attention in enumerate(attentions, 1):
            before = attention.register_forward_pre_hook(wanted, with_kwargs=True)
            after = attention.register_forward_hook(lambda _, __, output, n=number: take(n, output[1]))
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        model.encode_image(images)  # type: ignore[operator]
