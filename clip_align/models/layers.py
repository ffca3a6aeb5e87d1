# SPDX-License-Identifier: Apache-2.0
"""Outputs of the image tower's layers, handed over one by one in a single pass, so that no two have to be kept.

Layer k is the output of block k, k from 1. A block is a transformer block, a stage of timm's and open_clip's
convolutional networks (the stem of a ResNet is its first), a convolution or residual block of the tiny model.
Layer 0 is what enters block 1: the embedding of the patches, with positions (and the norm before the blocks,
where there is one), in transformers and ConvNeXt; the normalized image itself in towers that begin with a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from clip_align.errors import RunError

Take = Callable[[int, torch.Tensor], None]


def layer_count(model: nn.Module) -> int | None:
    """Number of the last layer of the model's image tower; None where it does not give out its blocks."""
    blocks = image_blocks(model)
    return len(blocks) if blocks else None


def prefix_tokens(model: nn.Module) -> int:
    """How many tokens of a layer stand before those of the patches: the class token and registers; 0 without any."""
    visual: Any = getattr(model, "visual", None)
    if hasattr(visual, "trunk"):  # open_clip's wrapper of a timm model
        return int(getattr(visual.trunk, "num_prefix_tokens", 0) or 0)
    return int(hasattr(visual, "class_embedding"))


def patch_size(model: nn.Module) -> int | None:
    """Side in pixels of the patches that a vision transformer cuts its input into; None for other image towers."""
    visual: Any = getattr(model, "visual", None)
    holder: Any = getattr(getattr(visual, "trunk", None), "patch_embed", None) or visual  # timm's, or open_clip's own
    size = getattr(holder, "patch_size", None)
    if isinstance(size, tuple | list):  # open_clip and timm store both sides
        size = max(size)
    return size if isinstance(size, int) else None


def encode_layers(model: nn.Module, images: torch.Tensor, layers: Iterable[int], take: Take) -> torch.Tensor:
    """The image embeddings [N, D] of ``model.encode_image``; each layer goes to ``take`` as soon as it is there.

    Args:
        model: has ``encode_image`` and, where layers are read, an image tower that gives out its blocks.
        images: [N, 3, S, S], normalized.
        layers: numbers from 0 to `layer_count`.
        take: called with a layer's number and its tokens [N, T, width]. Tokens before the patches come first;
            patches and the places of convolutional maps follow row by row. Nothing is normalized.

    RunError for a layer there is not.
    """
    numbers = sorted(set(layers))
    blocks = image_blocks(model) if numbers else []
    wrong = [n for n in numbers if not blocks or not 0 <= n <= len(blocks)]
    if wrong:
        has = f"layers 0 to {len(blocks)}" if blocks else "no accessible layers"
        raise RunError(f"layers: no layer {wrong[0]}: {type(model).__name__}'s image tower has {has}")

    def hook(number: int, output: Any) -> None:
        take(number, _as_tokens(model, output))

    with ExitStack() as hooks:  # removed also if the model raises
        for number in numbers:
            handle = (
                # layer 0 is what enters the first block
                blocks[0].register_forward_pre_hook(lambda _, inputs: hook(0, inputs[0]))
                if number == 0
                else blocks[number - 1].register_forward_hook(lambda _, __, output, n=number: hook(n, output))
            )
            hooks.callback(handle.remove)
        embeddings: torch.Tensor = model.encode_image(images)  # type: ignore[operator]
    return embeddings


def layer_features(model: nn.Module, images: torch.Tensor, layers: Sequence[int]) -> dict[int, torch.Tensor]:
    """All tokens [N, T, width] of the layers numbered from 0, in the order asked for; see `encode_layers`."""
    found: dict[int, torch.Tensor] = {}
    encode_layers(model, images, layers, found.__setitem__)
    return {number: found[number] for number in layers}


def image_blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The modules whose outputs are the layers; the first one's input is layer 0."""
    visual: Any = getattr(model, "visual", None)
    if hasattr(visual, "trunk"):  # timm says itself which of its modules put out features
        return [visual.trunk.get_submodule(about["module"]) for about in getattr(visual.trunk, "feature_info", ())]
    if hasattr(visual, "transformer"):
        return list(visual.transformer.resblocks)
    if hasattr(visual, "attnpool"):  # open_clip's ResNets; the stem is a method, which begins and ends with these
        return [_Stem(visual.conv1, visual.avgpool), visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    return list(getattr(visual, "blocks", ()))


class _Stem(nn.Module):
    """Several modules in a row as one: hooks on its input and output go to the first and the last of them."""

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.register_forward_pre_hook = first.register_forward_pre_hook  # type: ignore[method-assign]
        self.register_forward_hook = last.register_forward_hook  # type: ignore[method-assign]


def _as_tokens(model: nn.Module, output: Any) -> torch.Tensor:
    """The output of one of the model's blocks as tokens [N, T, width]."""
    visual: Any = getattr(model, "visual", None)
    # blocks that put out more than features put them first
    tensor: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
    if tensor.ndim == 3:  # [T, N, width] in open_clip's older transformers
        batch_first = getattr(getattr(visual, "transformer", None), "batch_first", True)
        return tensor if batch_first else tensor.transpose(0, 1)
    if tensor.ndim != 4:
        raise RunError(
            f"layers: a block puts out {tuple(tensor.shape)}; tokens [N, T, D] or maps [N, C, H, W] are read"
        )
    # [N, H, W, C] (timm's Swin) or [N, C, H, W] to [N, H * W, C], row by row
    channels_last = getattr(getattr(visual, "trunk", None), "output_fmt", "NCHW") == "NHWC"
    return tensor.flatten(1, 2) if channels_last else tensor.flatten(2).transpose(1, 2)
