# SPDX-License-Identifier: Apache-2.0
"""Images as the recipes of KADID-10k take and return them: float64 [H, W, 3], sRGB on [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import color_spaces

__all__ = ["UnitImage", "from_lab", "in_8_bits", "rounded", "stretched", "to_lab"]

UnitImage = NDArray[np.float64]  # [H, W, 3], sRGB on [0, 1]
Coder = Callable[[NDArray[np.uint8], float], NDArray[np.uint8]]


def stretched(image: NDArray[np.uint8] | UnitImage) -> UnitImage:
    """The image with its smallest sample mapped to 0 and its largest to 1; an image of one value as it is, on [0, 1].

    The published generator does so before and after each distortion: a blurred or shifted image uses the whole range.
    """
    values = image / 255 if image.dtype == np.uint8 else np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low)) if low < high else np.clip(values, 0, 1)


def rounded(image: UnitImage) -> NDArray[np.uint8]:
    """The image in 8 bits."""
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def to_lab(image: UnitImage) -> NDArray[np.float64]:
    """CIELAB [H, W, 3] of the image, relative to D65."""
    return color_spaces.lab(color_spaces.xyz(color_spaces.decoded(image)))


def from_lab(lab: NDArray[np.float64]) -> UnitImage:
    """The image of a CIELAB one [H, W, 3], clipped to what sRGB can show."""
    return np.clip(color_spaces.encoded(color_spaces.linear_rgb(color_spaces.xyz_from_lab(lab))), 0, 1)


def in_8_bits(coder: Coder) -> Callable[[UnitImage, float], UnitImage]:
    """A recipe that applies a coder of 8-bit images."""

    def coded(image: UnitImage, setting: float) -> UnitImage:
        return np.asarray(coder(rounded(image), setting) / 255)

    return coded
