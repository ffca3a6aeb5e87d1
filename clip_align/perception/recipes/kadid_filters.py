# SPDX-License-Identifier: Apache-2.0
"""Filters of KADID-10k, re-made from the published generator's description: types 1 to 4 and 24.

Samples beyond the border repeat it. Images are `UnitImage` s: float64 [H, W, 3], sRGB on [0, 1].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clip_align.perception.recipes.unit_range import UnitImage, from_lab, to_lab

__all__ = ["color_diffusion", "disk", "gaussian_blur", "lens_blur", "line", "motion_blur", "sharpening"]

Kernel = NDArray[np.float64]
SHARPENED_PX = 3.0  # standard deviation of the Gaussian that sharpening subtracts
COLUMNS = 400  # a pixel, of the integral over a disk's edge


def gaussian_blur(image: UnitImage, sigma_px: float) -> UnitImage:
    """Type 1: Gaussian blur of each channel, cut off at twice sigma."""
    return _gaussian(image, sigma_px, math.ceil(2 * sigma_px))


def lens_blur(image: UnitImage, radius_px: int) -> UnitImage:
    """Type 2: mean over a disk."""
    return _filtered(image, disk(radius_px))


def motion_blur(image: UnitImage, length_px: int, rng: np.random.Generator) -> UnitImage:
    """Type 3: mean along a line, in a random direction of whole degrees.

    Args:
        image: on [0, 1].
        length_px: of the line; 1 leaves the image as it is.
        rng: generator of the direction.
    """
    return _filtered(image, line(length_px, int(rng.integers(0, 181))))


def color_diffusion(image: UnitImage, amount: float) -> UnitImage:
    """Type 4: a* and b* blurred by a Gaussian of 1.5 ``amount`` + 2 px, then multiplied by ``amount``."""
    lab, sigma_px = to_lab(image), 1.5 * amount + 2
    lab[..., 1:] = amount * _gaussian(lab[..., 1:], sigma_px, math.ceil(2 * sigma_px))
    return from_lab(lab)


def sharpening(image: UnitImage, amount: float) -> UnitImage:
    """Type 24: unsharp masking of L*, with a Gaussian of 3 px, cut off at twice that."""
    lab = to_lab(image)
    lightness = lab[..., :1]
    lab[..., :1] = lightness + amount * (lightness - _gaussian(lightness, SHARPENED_PX, math.ceil(2 * SHARPENED_PX)))
    return from_lab(lab)


def disk(radius_px: float) -> Kernel:
    """Weights of a disk: the area of each pixel that lies in it, as fractions of the disk's."""
    reach = math.ceil(radius_px - 0.5)
    pixels = np.arange(-reach, reach + 1)
    # half a chord at the middle of each of many columns, against each pixel's rows
    x = (np.arange((2 * reach + 1) * COLUMNS) + 0.5) / COLUMNS - reach - 0.5
    half = np.sqrt(np.maximum(radius_px**2 - x**2, 0))
    covered = np.minimum(half, pixels[:, None] + 0.5) - np.maximum(-half, pixels[:, None] - 0.5)
    area = np.clip(covered, 0, 1).reshape(len(pixels), len(pixels), COLUMNS).mean(axis=2)
    return np.asarray(area / area.sum())


def line(length_px: float, degrees: float) -> Kernel:
    """Weights of a line: one minus the distance of each pixel's center to it, where that is positive.

    Args:
        length_px: of the line, its ends included.
        degrees: counter-clockwise from the horizontal.
    """
    half, angle = (max(length_px, 1) - 1) / 2, math.radians(degrees)
    reach = math.ceil(half)
    pixels = np.arange(-reach, reach + 1)
    x, y = pixels[None, :], -pixels[:, None]  # rows count downwards
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = np.hypot(across, np.maximum(np.abs(along) - half, 0))
    weight = np.maximum(1 - distance, 0)
    return np.asarray(weight / weight.sum())


def _gaussian(planes: NDArray[np.float64], sigma_px: float, radius_px: int) -> NDArray[np.float64]:
    # sigma 0: not across channels
    blurred = ndimage.gaussian_filter(planes, (sigma_px, sigma_px, 0), mode="nearest", radius=(radius_px, radius_px, 0))
    return np.asarray(blurred)


def _filtered(image: UnitImage, kernel: Kernel) -> UnitImage:
    return np.asarray(ndimage.correlate(image, kernel[:, :, None], mode="nearest"))
