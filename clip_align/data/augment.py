# SPDX-License-Identifier: Apache-2.0
"""Crops of uint8 images; the caller passes all random numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Box = tuple[int, int, int, int]  # top, left, height, width

TRIES = 10
DRAWS = 4 * TRIES  # uniform numbers per random crop: area, aspect, row and column, for each try
ASPECT = (3 / 4, 4 / 3)  # width to height, as in the usual RandomResizedCrop


def centre_square(image: torch.Tensor, size: int) -> torch.Tensor:
    """The largest centred square of a uint8 image [3, H, W], resized to [3, size, size]."""
    height, width = image.shape[1:]
    side = min(height, width)
    return resized(image, ((height - side) // 2, (width - side) // 2, side, side), size)


def resized(image: torch.Tensor, box: Box, size: int) -> torch.Tensor:
    """A part of an image, uint8 [3, size, size]: bicubic, antialiased.

    Args:
        image: uint8 [3, H, W].
        box: top, left, height, width in px.
        size: side of the result in px.
    """
    top, left, height, width = box
    part = image[:, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return part
    return functional.interpolate(part[None], (size, size), mode="bicubic", antialias=True)[0]


def random_box(height: int, width: int, scale: tuple[float, float], draws: NDArray[np.float64]) -> Box:
    """A box (top, left, height, width) of random area, aspect and position (Szegedy et al. 2014, section 6).

    Args:
        height, width: of the image in px.
        scale: smallest and largest fraction of the image's area; width to height is within `ASPECT`.
        draws: `DRAWS` uniform numbers in [0, 1).

    If none of `TRIES` boxes fits: the largest centred one with an allowed aspect.
    """
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])  # uniform in the logarithm: wide and tall equally often
    for area, shape, down, right in draws.reshape(TRIES, 4).tolist():
        pixels = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(low + (high - low) * shape)
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            # draws are below 1, so that every offset from 0 to the last one that fits is equally probable
            return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    w, h = min(width, max(1, round(height * ASPECT[1]))), min(height, max(1, round(width / ASPECT[0])))
    return (height - h) // 2, (width - w) // 2, h, w
