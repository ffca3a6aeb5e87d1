# SPDX-License-Identifier: Apache-2.0
"""What a lens does: types 8 and 23 of TID2013, re-made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clip_align.perception import psnr
from clip_align.perception.recipes.noise import ImageArray


def blur(image: ImageArray, sigma_px: float) -> ImageArray:
    """Type 8: Gaussian blur of each channel (mirrored at the border), rounded."""
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(
        image.astype(np.float32),
        (sigma_px, sigma_px, 0),
        mode="reflect",  # sigma 0: not across channels
    )
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


def aberration(image: ImageArray, target_db: float) -> ImageArray:
    """Type 23: R moved by (+d, +d) and B by (-d, -d) pixels, bilinear, G kept; d is searched.

    Samples beyond the border repeat it.
    """
    out = image.copy()

    def psnr_at(shift_px: float) -> float:
        out[:, :, 0] = moved(image[:, :, 0], shift_px)
        # B in the opposite direction: moved on the image turned by 180 degrees
        out[::-1, ::-1, 2] = moved(image[::-1, ::-1, 2], shift_px)
        return psnr.psnr(out, image)

    psnr_at(psnr.reach(psnr_at, target_db, start=1.0))  # the last shift tried is not always the nearest
    return out


def moved(plane: NDArray[np.uint8], shift_px: float) -> NDArray[np.uint8]:
    """Plane [H, W] moved right and down by a number of pixels >= 0, bilinear, rounded."""
    whole = int(shift_px)
    part = np.float32(shift_px - whole)
    # one more row and column than needed: the neighbours of the first ones
    wide = np.pad(plane, ((whole + 1, 0), (whole + 1, 0)), mode="edge").astype(np.float32)
    height, width = plane.shape
    wide = wide[: height + 1, : width + 1]
    rows = wide[1:] + part * (wide[:-1] - wide[1:])  # vertically, then horizontally
    return np.rint(rows[:, 1:] + part * (rows[:, :-1] - rows[:, 1:])).astype(np.uint8)
