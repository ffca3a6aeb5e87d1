# SPDX-License-Identifier: Apache-2.0
"""How an image becomes the model's input. No torch here: images are cut in small processes.

Shrinking and enlarging is bicubic with antialiasing (Pillow's), as CLIP's own preprocessing does it.
uint8 images stay uint8; float32 ones stay float32, clipped to [0, 1] after resizing.
"""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.evaluation.stimulus import ImageArray, View

VIEWS: tuple[View, ...] = get_args(View)
CROPPED_FROM_PX = 128  # smaller models see an image's middle too coarsely


def chosen_view(asked: View | None, size: int, places: str | None) -> View:
    """The view a stimulus is seen under: the one asked for, else by the model's input size in px and its places."""
    if asked or size >= CROPPED_FROM_PX:
        return asked or "resize_crop"
    return "tiles" if places else "squash"


def kept(image: ImageArray, view: View, size: int, tiles: int, places: str) -> ImageArray:
    """What is kept of an image: its own pixels [1, H, W, 3] where it is smaller than the input, else as `cut`.

    Enlarging it later gives what `cut` gives (`enlarge.enlarged`), from a fraction of the bytes.
    """
    if view != "tiles" and _is_picture(image) and max(image.shape[:2]) <= size:
        return image[None]
    return cut(image, view, size, tiles, places)


def cut(image: ImageArray, view: View, size: int, tiles: int, places: str) -> ImageArray:
    """The model's inputs [V, size, size, 3] of one image [H, W, 3]; V = ``tiles`` for ``tiles``, else 1.

    native: the image as it is, enlarged or shrunk to the input size where it differs.
    squash: both sides resized to ``size``.
    resize_crop: the short side resized to ``size``, then the centre.
    tiles: squares at the image's own resolution, at places drawn from the name ``places`` and the
        image's shape alone. Averaging happens on distances, not here.
    """
    if not _is_picture(image):
        raise ValueError(f"an image is uint8 or float32 [H, W, 3], got {image.dtype} {image.shape}")
    if view in ("native", "squash"):
        return _resized(image, size, size)[None]
    height, width = image.shape[:2]
    if view == "resize_crop" or min(height, width) < size:
        image = _resized(image, *_short_side(height, width, size))
        height, width = image.shape[:2]
    if view == "resize_crop":
        top, left = round((height - size) / 2), round((width - size) / 2)
        return image[top : top + size, left : left + size][None]
    corners = tile_corners(height, width, size, tiles, places)
    parts: ImageArray = np.stack([image[y : y + size, x : x + size] for y, x in corners])  # type: ignore[assignment]
    return parts


def tile_corners(height: int, width: int, size: int, tiles: int, places: str) -> NDArray[np.int64]:
    """Upper left corners (y, x) [tiles, 2] of the tiles of an image, uniform over all places that fit."""
    seed = int.from_bytes(hashlib.sha256(places.encode()).digest()[:8], "little")
    draw = np.random.Generator(np.random.PCG64(seed)).random((tiles, 2))
    return np.floor(draw * [height - size + 1, width - size + 1]).astype(np.int64)


def _is_picture(image: ImageArray) -> bool:
    return image.ndim == 3 and image.shape[2] == 3 and image.dtype in (np.uint8, np.float32)


def _short_side(height: int, width: int, size: int) -> tuple[int, int]:
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resized(image: ImageArray, height: int, width: int) -> ImageArray:
    if image.shape[:2] == (height, width):
        return image
    target = (width, height)
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BICUBIC))
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
    resized = np.stack([np.asarray(p.resize(target, Image.Resampling.BICUBIC)) for p in planes], axis=-1)
    clipped: ImageArray = np.clip(resized, 0, 1).astype(np.float32)
    return clipped
