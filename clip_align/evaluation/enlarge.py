# SPDX-License-Identifier: Apache-2.0
"""Enlarge images that are cached at their own size to the model's input size, bit-identical to Pillow.

Measured (256 images of noise, 32 to 224 px, against Pillow's bicubic): torch's antialiased bicubic differs by up to 2
of 255 on uint8 and by up to 26 on float32 rounded at the end, because Pillow rounds and clips between its two passes.
A score would then depend on whether the cache holds an image small or enlarged. GPUs therefore compute Pillow's
fixed-point arithmetic as two matrix products in float64, in which its integers are exact; on the CPU Pillow itself is
used, which is six times faster there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from clip_align.evaluation.stimulus import View
from clip_align.evaluation.views import cut, short_side

BITS = 22  # fractional bits of Pillow's coefficients: 32 minus 8 of a pixel and 2 of headroom
HALF = 1 << (BITS - 1)  # added before the shift, so that it rounds


def enlarged(images: torch.Tensor, view: View, size: int) -> torch.Tensor:
    """Cached images at the model's input size: [B, size, size, 3].

    Args:
        images: [B, h, w, 3], uint8 or float32 in [0, 1], on the device of the result; h and w at most ``size``.
        view: ``squash``, ``native`` or ``resize_crop``; tiles are cached at the input size already.
        size: side of the model's input in px.
    """
    if images.device.type in ("cpu", "mps"):  # mps has no float64
        # tiles and their positions do not matter under these views
        made = [cut(image, view, size, 1, "")[0] for image in images.cpu().numpy()]
        return torch.from_numpy(np.stack(made)).to(images.device)
    height, width = images.shape[1:3]
    if view != "resize_crop":
        return _resized(images, size, size)
    short = short_side(height, width, size)
    whole = _resized(images, *short)
    top, left = (round((side - size) / 2) for side in short)
    return whole[:, top : top + size, left : left + size]


def _resized(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pillow's two passes, horizontal first; a side that keeps its length is skipped."""
    x = images.permute(0, 3, 1, 2).double()  # [B, 3, h, w]
    is_bytes = images.dtype == torch.uint8
    for side, target, dim in ((images.shape[2], width, 3), (images.shape[1], height, 2)):
        if side == target:
            continue
        weights = torch.from_numpy(_weights(side, target)).to(x.device)
        if is_bytes:  # to integers as Pillow does: half away from zero
            weights = torch.trunc(weights * (1 << BITS) + weights.sign() / 2)
        x = x @ weights.T if dim == 3 else weights @ x  # along rows of pixels, then along columns
        # rounded after each pass, as Pillow stores the result of the first: to bytes, or to float32
        x = torch.floor((x + HALF) / (1 << BITS)).clamp_(0, 255) if is_bytes else x.float().double()
    x = x.permute(0, 2, 3, 1)  # [B, H, W, 3]
    return x.to(torch.uint8) if is_bytes else x.clamp_(0, 1).float()


@lru_cache(maxsize=16)
def _weights(inputs: int, outputs: int) -> NDArray[np.float64]:
    """Pillow's bicubic weights [outputs, inputs], each row summing to 1."""
    scale = max(inputs / outputs, 1.0)  # above 1 the filter is widened: antialiasing
    weights = np.zeros((outputs, inputs))
    for place in range(outputs):
        center = (place + 0.5) * inputs / outputs
        low = max(int(center - 2 * scale + 0.5), 0)  # the filter reaches two pixels to either side
        high = min(int(center + 2 * scale + 0.5), inputs)
        row = [_bicubic((i - center + 0.5) / scale) for i in range(low, high)]
        weights[place, low:high] = np.array(row) / math.fsum(row)
    return weights


def _bicubic(x: float, a: float = -0.5) -> float:
    x = abs(x)  # Keys' kernel; a as in Pillow, where torch without antialiasing has -.75
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
