# SPDX-License-Identifier: Apache-2.0
"""Outputs of the image tower's blocks, in one pass, for every architecture that can be trained offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from clip_align.errors import RunError


def layer_count(model: nn.Module) -> int | None:
    """Number of blocks of the model's image tower; None where it does not give out its blocks.

    A block is a transformer block, a stage of timm's and open_clip's convolutional networks (the stem
    of a ResNet is its first), a convolution or residual block of the tiny model.
    """
    visual: Any = getattr(model, "visual", None)
    if not hasattr(visual, "forward_intermediates"):
        return None
    if hasattr(visual, "blocks"):
        return len(visual.blocks)
    if hasattr(visual, "transformer"):
        return len(visual.transformer.resblocks)
    if hasattr(visual, "trunk"):
        return len(visual.trunk.feature_info)
    if hasattr(visual, "attnpool"):
        return 5  # open_clip's ResNets: stem, layer1 … layer4
    return None


def block_features(model: nn.Module, images: torch.Tensor, blocks: Sequence[int]) -> dict[int, torch.Tensor]:
    """Outputs of the blocks numbered from 1, each flattened to [N, D]; ``images`` [N, 3, S, S], normalized.

    Transformers: all tokens, the class token (where there is one) first, D = tokens x width. Convolutional
    towers: the map, D = channels x height x width. Nothing is normed. RunError for a block there is not.
    """
    count = layer_count(model)
    wrong = [b for b in blocks if count is None or not 1 <= b <= count]
    if wrong:
        has = f"blocks 1 to {count}" if count else "no blocks that it gives out"
        raise RunError(f"layers: no block {wrong[0]}: {type(model).__name__}'s image tower has {has}")
    # The last block is always asked for: open_clip 3.3's ResNet otherwise ends early and fails in its head.
    numbers = sorted({b - 1 for b in blocks} | {(count or 1) - 1})
    visual: Any = model.visual
    form = {"output_fmt": "NLC", "output_extra_tokens": True} if _has_class_token(visual) else {"output_fmt": "NCHW"}
    found = visual.forward_intermediates(images, indices=numbers, **form)
    outputs, first = found["image_intermediates"], found.get("image_intermediates_prefix")
    if first is not None:
        outputs = [torch.cat(parts, dim=1) for parts in zip(first, outputs, strict=True)]  # [N, tokens, width]
    by_number = dict(zip(numbers, outputs, strict=True))
    return {b: by_number[b - 1].flatten(1) for b in blocks}


def _has_class_token(visual: Any) -> bool:
    if hasattr(visual, "trunk"):
        return int(getattr(visual.trunk, "num_prefix_tokens", 0)) > 0
    return hasattr(visual, "class_embedding")
