# SPDX-License-Identifier: Apache-2.0
"""Image files as human observers saw them: upright, 8-bit sRGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H, W, 3]: turned upright by its EXIF orientation, grey repeated, transparency dropped.

    ValueError for more than 8 bits a sample, which would be clipped rather than scaled; OSError where it
    cannot be decoded.
    """
    with Image.open(path) as image:
        _check(image, path)
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels, upright, from the file's header alone; errors as ``read_rgb``."""
    with Image.open(path) as image:
        _check(image, path)
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # orientation: sides exchanged
        return (image.width, image.height) if turned else (image.height, image.width)


def _check(image: Image.Image, path: Path) -> None:
    if image.mode not in EIGHT_BITS:
        raise ValueError(f"{path} has mode {image.mode}; convert it to 8 bits a sample")
