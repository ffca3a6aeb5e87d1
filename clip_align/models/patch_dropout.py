# SPDX-License-Identifier: Apache-2.0
"""Patch dropout: a part of an image's tokens is left out in training (FLIP, Li et al. 2022, arXiv 2212.00794)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PatchDropout(nn.Module):
    """In training mode leaves out patches of [N, 1 + T, width], each image its own; the class token stays.

    On the CPU it draws the numbers that open_clip's does, from the global generator. open_clip's draws them there on
    a GPU too, which then waits for them in every step; this one draws them where the tokens are.

    Args:
        fraction: of the patches, in [0, 1); at least one patch is kept.
    """

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [N, 1 + K, width], the K patches in random order."""
        if not self.training:
            return tokens
        first, patches = tokens[:, :1], tokens[:, 1:]
        n, count, width = patches.shape
        keep = max(1, int(count * (1 - self.fraction)))
        chosen = torch.randn(n, count, device=tokens.device).topk(keep, dim=-1).indices  # [N, K]
        kept = patches.gather(1, chosen.unsqueeze(-1).expand(-1, -1, width))  # [N, K, width]
        return torch.cat([first, kept], dim=1)

    def extra_repr(self) -> str:
        """For ``print(model)``."""
        return f"fraction={self.fraction}"


def use_patch_dropout(model: Any, fraction: float) -> bool:
    """Let a model that open_clip has built with patch dropout draw on its own device; whether it drops patches at all.

    Args:
        model: built with ``force_patch_dropout``. timm's towers draw on their device themselves.
        fraction: of the patches.
    """
    visual = model.visual
    if _drops(getattr(visual, "patch_dropout", None)):
        visual.patch_dropout = PatchDropout(fraction)
        return True
    return any(_drops(module) for module in visual.modules())


def _drops(module: object) -> bool:
    """By the class's name: open_clip and timm have one each, timm another one for rotary positions."""
    return type(module).__name__ in ("PatchDropout", "PatchDropoutWithIndices")
