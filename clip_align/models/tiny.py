# SPDX-License-Identifier: Apache-2.0
"""The tiny CLIP that a CPU can train: a convolutional image tower and open_clip's text tower, small.

The image tower has no BatchNorm: with it the gradient would depend on how a batch is split over
ranks. Its stages halve the image three times, so any image size that is a multiple of 8 will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.model import CLIP
from torch import nn

TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 64, 2, 2
WIDTHS = (32, 64, 128)  # channels of the three stages
STRIDE = 8  # three stages, each halving the image
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # of pixels in [0, 1]; near the world's own


class _Convolution(nn.Sequential):
    """3x3 convolution, normalization over channels and positions, GELU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.GroupNorm(1, outputs), nn.GELU()
        )


class _Residual(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _Convolution(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(1, width)
        )
        self.activation = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.activation(x + self.body(x))
        return y


class ConvTower(nn.Module):
    """Image tower: [B, 3, S, S] normalized pixels to [B, embed_dim], not of unit length; S a multiple of 8."""

    def __init__(self, embed_dim: int, image_size: int) -> None:
        super().__init__()
        if image_size % STRIDE or image_size <= 0:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}, not {image_size}")
        a, b, c = WIDTHS
        # under the names that open_clip's towers have for them
        self.image_size = (image_size, image_size)
        self.image_mean: tuple[float, float, float] = MEAN
        self.image_std: tuple[float, float, float] = STD
        self.output_dim = embed_dim
        self.blocks = nn.ModuleList(
            [_Convolution(3, a, 2), _Convolution(a, b, 2), _Residual(b), _Convolution(b, c, 2), _Residual(c)]
        )
        self.norm = nn.LayerNorm(c)
        self.projection = nn.Linear(c, embed_dim, bias=False)
        self.to(memory_format=torch.channels_last)  # as the images in forward: convolutions need not convert

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, embed_dim]."""
        return self._embed(self.layer_outputs(image)[-1])

    def layer_outputs(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Output [B, C, H, W] of each of the five blocks, the first one first."""
        x, outputs = image.contiguous(memory_format=torch.channels_last), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        intermediates_only: bool = False,
        **formats: Any,
    ) -> dict[str, torch.Tensor | list[torch.Tensor]]:
        """open_clip's interface to the blocks' outputs, always [B, C, H, W].

        Args:
            x: normalized images [B, 3, S, S].
            indices: None for all blocks, n for the last n, a list for the blocks with these numbers from 0.
            intermediates_only: leave out the final embedding.
            formats: open_clip's further options; those about tokens and final norms have nothing to act on here.

        Returns:
            ``image_intermediates``, a list, and ``image_features`` [B, embed_dim] unless left out.

        ValueError for a layout other than NCHW.
        """
        if formats.get("output_fmt", "NCHW") != "NCHW":
            raise ValueError("the tiny model's intermediates are NCHW")
        outputs = self.layer_outputs(x)
        if isinstance(indices, int):
            chosen = outputs[-indices:]
        else:
            chosen = outputs if indices is None else [outputs[i] for i in indices]
        result: dict[str, torch.Tensor | list[torch.Tensor]] = {"image_intermediates": chosen}
        if not intermediates_only:
            result["image_features"] = self._embed(outputs[-1])
        return result

    def _embed(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.norm(x.mean(dim=(2, 3)))  # [B, C]
        embedding: torch.Tensor = self.projection(pooled)
        return embedding


def build_tiny(embed_dim: int, image_size: int, vocabulary_size: int, context: int) -> CLIP:
    """The tiny CLIP with random weights (torch's generator), about 0.6 M parameters.

    Args:
        embed_dim: width of both embeddings.
        image_size: side of the images in px, a multiple of 8 (else ValueError).
        vocabulary_size: number of token ids, the special ones included (`WordTokenizer.vocab_size`).
        context: number of ids of a text.

    ``visual`` is a `ConvTower`; everything else is open_clip's own model.
    """
    # CLIP always builds an image tower: the smallest possible one, replaced below
    unused = {"layers": 1, "width": 16, "head_width": 16, "image_size": STRIDE, "patch_size": STRIDE}
    text = {
        "context_length": context,
        "vocab_size": vocabulary_size,
        "width": TEXT_WIDTH,
        "heads": TEXT_HEADS,
        "layers": TEXT_LAYERS,
    }
    model = CLIP(embed_dim=embed_dim, vision_cfg=unused, text_cfg=text)
    model.visual = ConvTower(embed_dim, image_size)
    return model
