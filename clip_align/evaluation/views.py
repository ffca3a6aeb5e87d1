# SPDX-License-Identifier: Apache-2.0
"""Views: how an image becomes the model's input. Torch-free, so that rendering processes start fast.

Resizing is bicubic with antialiasing (Pillow's), as in CLIP's own preprocessing.
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
CROPPED_FROM_PX = 128  # input size from which ``resize_crop`` preserves enough detail


def chosen_view(view: View | None, size: int, places: str | None) -> View:
    """The view of a stimulus.

    Args:
        view: as configured, None: chosen by the other two.
        size: side of the model's input in px.
        places: the stimulus's ``places``.
    """
    if view or size >= CROPPED_FROM_PX:
        return view or "resize_crop"
    return "tiles" if places else "squash"


def kept(image: ImageArray, view: View, size: int, tiles: int, places: str) -> ImageArray:
    """The array that is cached of an image: its own pixels [1, H, W, 3] if it fits into the input, else `cut` of it.

    `enlarge.enlarged` later yields the bits of `cut`, from a fraction of the bytes.

    Args:
        image, view, size, tiles, places: as for `cut`.
    """
    if view != "tiles" and _is_image(image) and max(image.shape[:2]) <= size:
        return image[None]
    return cut(image, view, size, tiles, places)


def cut(image: ImageArray, view: View, size: int, tiles: int, places: str) -> ImageArray:
    """The model's inputs [V, size, size, 3] of one image; V = ``tiles`` under the view ``tiles``, else 1.

    Args:
        image: [H, W, 3], uint8 or float32 in [0, 1]; ValueError for anything else.
        view: ``native`` and ``squash``: both sides resized to ``size`` (``native`` marks images that need no
            resizing at their designed input size). ``resize_crop``: short side resized to ``size``, then the centre.
            ``tiles``: squares at the image's own resolution; distances, not embeddings, are averaged over them.
        size: side of the model's input in px.
        tiles: number of tiles.
        places: seed of the tiles' positions, which otherwise depend on the image's shape only.
    """
    if not _is_image(image):
        raise ValueError(f"an image is uint8 or float32 [H, W, 3], got {image.dtype} {image.shape}")
    if view in ("native", "squash"):
        return _resized(image, size, size)[None]
    height, width = image.shape[:2]
    if view == "resize_crop" or min(height, width) < size:  # tiles are cut from at least the input size
        image = _resized(image, *short_side(height, width, size))
        height, width = image.shape[:2]
    if view == "resize_crop":
        top, left = round((height - size) / 2), round((width - size) / 2)
        return image[top : top + size, left : left + size][None]
    corners = tile_corners(height, width, size, tiles, places)
    parts: ImageArray = np.stack([image[y : y + size, x : x + size] for y, x in corners])  # type: ignore[assignment]
    return parts


def tile_corners(height: int, width: int, size: int, tiles: int, places: str) -> NDArray[np.int64]:
    """Upper left corners (y, x) int64 [tiles, 2] of the tiles of an image, uniform over all positions that fit.

    Args:
        height, width: of the image in px; at least ``size``.
        size: side of a tile in px.
        tiles: number of tiles.
        places: seed.
    """
    seed = int.from_bytes(hashlib.sha256(places.encode()).digest()[:8], "little")
    # PCG64 by name: what default_rng returns may change with NumPy
    draw = np.random.Generator(np.random.PCG64(seed)).random((tiles, 2))  # y and x of each tile, in [0, 1)
    return np.floor(draw * [height - size + 1, width - size + 1]).astype(np.int64)


def _is_image(image: ImageArray) -> bool:
    return image.ndim == 3 and image.shape[2] == 3 and image.dtype in (np.uint8, np.float32)


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width in px of an image whose short side is resized to ``size``; the long side is rounded down.

    Args:
        height, width: of the image in px.
        size: of the short side in px.
    """
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resized(image: ImageArray, height: int, width: int) -> ImageArray:
    if image.shape[:2] == (height, width):
        return image
    target = (width, height)  # Pillow's order
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BICUBIC))
    # Pillow resizes float images of one channel only
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
    resized = np.stack([np.asarray(p.resize(target, Image.Resampling.BICUBIC)) for p in planes], axis=-1)
    # bicubic overshoots at edges
    clipped: ImageArray = np.clip(resized, 0, 1).astype(np.float32)
    return clipped
