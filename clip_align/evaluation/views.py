# SPDX-License-Identifier: Apache-2.0
"""How a picture becomes the model's input. No torch here: pictures are cut in small processes.

Shrinking and enlarging is bicubic with antialiasing (Pillow's), as CLIP's own preprocessing does it.
uint8 pictures stay uint8; float32 ones stay float32, clipped to [0, 1] after resizing.
"""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.evaluation.stimulus import Picture, View

VIEWS: tuple[View, ...] = get_args(View)
TILED_BELOW_PX = 128


def chosen_view(asked: View | None, size: int) -> View:
    """The view a stimulus is seen under: the one asked for, else by the model's input size in pixels."""
    return asked or ("tiles" if size < TILED_BELOW_PX else "resize_crop")


def cut(picture: Picture, view: View, size: int, tiles: int, places: str) -> Picture:
    """The model's inputs [V, size, size, 3] of one picture [H, W, 3]; V = ``tiles`` for ``tiles``, else 1.

    native: the picture as it is, enlarged or shrunk to the input size where it differs.
    squash: both sides resized to ``size``.
    resize_crop: the short side resized to ``size``, then the centre.
    tiles: squares at the picture's own resolution, at places drawn from the name ``places`` and the
        picture's shape alone. Averaging happens on distances, not here.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, np.float32):
        raise ValueError(f"a picture is uint8 or float32 [H, W, 3], got {picture.dtype} {picture.shape}")
    if view in ("native", "squash"):
        return _resized(picture, size, size)[None]
    height, width = picture.shape[:2]
    if view == "resize_crop" or min(height, width) < size:
        picture = _resized(picture, *_short_side(height, width, size))
        height, width = picture.shape[:2]
    if view == "resize_crop":
        top, left = round((height - size) / 2), round((width - size) / 2)
        return picture[top : top + size, left : left + size][None]
    corners = tile_corners(height, width, size, tiles, places)
    parts: Picture = np.stack([picture[y : y + size, x : x + size] for y, x in corners])  # type: ignore[assignment]
    return parts


def tile_corners(height: int, width: int, size: int, tiles: int, places: str) -> NDArray[np.int64]:
    """Upper left corners (y, x) [tiles, 2] of the tiles of a picture, uniform over all places that fit."""
    seed = int.from_bytes(hashlib.sha256(places.encode()).digest()[:8], "little")
    draw = np.random.Generator(np.random.PCG64(seed)).random((tiles, 2))
    return np.floor(draw * [height - size + 1, width - size + 1]).astype(np.int64)


def _short_side(height: int, width: int, size: int) -> tuple[int, int]:
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resized(picture: Picture, height: int, width: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture
    target = (width, height)
    if picture.dtype == np.uint8:
        return np.asarray(Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC))
    planes = [Image.fromarray(np.ascontiguousarray(picture[..., c])) for c in range(3)]
    resized = np.stack([np.asarray(p.resize(target, Image.Resampling.BICUBIC)) for p in planes], axis=-1)
    clipped: Picture = np.clip(resized, 0, 1).astype(np.float32)
    return clipped
