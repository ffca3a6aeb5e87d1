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
WIDTHS = (32, 64, 128)
STRIDE = 8  # three stages, each halving the image
MEAN, STD = (
    (0.5, 0.5, 0.5),
    (0.25, 0.25, 0.25),
)  # of pixels in [0, 1]; near the world's own


class _Convolution(nn.Sequential):
    """3x3 convolution, normalization over channels and places, GELU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.GroupNorm(1, outputs), nn.GELU()
        )


class _Residual(nn.Module):
    """Two convolutions with a way around them."""

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
    """Image tower: [B, 3, S, S] normalized pixels to [B, embed_dim], not normed; S a multiple of 8."""

    def __init__(self, embed_dim: int, image_size: int) -> None:
        super().__init__()
        if image_size % STRIDE or image_size <= 0:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}, not {image_size}")
        a, b, c = WIDTHS
        self.image_size = (image_size, image_size)
        self.image_mean: tuple[float, float, float] = MEAN
        self.image_std: tuple[float, float, float] = STD
        self.output_dim = embed_dim
        self.blocks = nn.ModuleList(
            [_Convolution(3, a, 2), _Convolution(a, b, 2), _Residual(b), _Convolution(b, c, 2), _Residual(c)]
        )
        self.norm = nn.LayerNorm(c)
        self.projection = nn.Linear(c, embed_dim, bias=False)
        self.to(memory_format=torch.channels_last)

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
        """open_clip's interface to the blocks' outputs (always NCHW): all, the last n, or those numbered.

        ``formats`` are open_clip's further options; those about tokens and final norms have nothing
        to act on here, a layout other than NCHW is refused.
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

    ``vocabulary_size`` counts the special ids too (`WordTokenizer.vocab_size`); ``context`` is the
    number of ids a text has. ``visual`` is a `ConvTower`; everything else is open_clip's own model.
    """
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
