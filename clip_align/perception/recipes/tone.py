# SPDX-License-Identifier: Apache-2.0
"""Tone and colour of a whole image: types 7, 16, 17 and 18 of TID2013, re-made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import psnr
from clip_align.perception.luminance import luminance
from clip_align.perception.recipes.noise import ImageArray, add

STEPS = range(8, 130)  # of the quantiser, grey values


def quantisation(image: ImageArray, target_db: float) -> ImageArray:
    """Type 7: uniform quantiser in each channel, middle of the step put out; the step nearest to the PSNR."""
    counts = np.bincount(image.ravel(), minlength=256)  # the error follows from the histogram: no image per step
    values = np.arange(256)

    def table(step: int) -> NDArray[np.uint8]:
        return np.clip(values // step * step + step // 2, 0, 255).astype(np.uint8)

    def miss(step: int) -> float:
        error = np.square(table(step).astype(np.int64) - values)  # [256], of each grey value
        return abs(psnr.from_mean_square(float(counts @ error) / image.size) - target_db)

    return table(min(STEPS, key=miss))[image]


def mean_shift(image: ImageArray, shift: int) -> ImageArray:
    """Type 16: the same number added to every sample, clipped."""
    return np.clip(np.arange(256) + shift, 0, 255).astype(np.uint8)[image]  # a look-up in 256 values


def contrast(image: ImageArray, factor: float) -> ImageArray:
    """Type 17: samples scaled about the mean of them all, rounded and clipped."""
    mean = float(image.mean(dtype=np.float64))
    table = np.clip(np.rint(mean + factor * (np.arange(256) - mean)), 0, 255).astype(np.uint8)
    return np.asarray(table[image])


def saturation(image: ImageArray, target_db: float) -> ImageArray:
    """Type 18: Cb and Cr scaled by a factor k <= 1, Y kept; k may fall below 0 on weakly coloured images.

    Scaling the chroma by k is adding 1 - k times (luminance minus the sample), so the search is the noise's.
    """
    return add(image, luminance(image)[:, :, None] - image, target_db)
