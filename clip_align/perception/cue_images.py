# SPDX-License-Identifier: Apache-2.0
"""Images that keep one kind of information: shuffled tiles (local texture), and one image's coarse with another's fine.

uint8 sRGB [H, W, 3] in and out, rounded.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["high_and_low", "low_pass", "shuffled"]

Image = NDArray[np.uint8]


def shuffled(image: Image, grid: int, seed: str) -> Image:
    """The image cut into grid x grid tiles, which are put back in random order: local texture stays, shape does not.

    Naseer et al. 2021, arXiv 2105.10497. Any permutation but the one that leaves all tiles in place.

    Args:
        image: [H, W, 3]; both sides must be multiples of ``grid``, ValueError otherwise.
        grid: tiles along a side; 1: the image itself.
        seed: of the permutation: equal for an image at every evaluation, another for every image.
    """
    height, width = image.shape[:2]
    if grid < 1 or height % grid or width % grid:
        raise ValueError(f"an image of {width} x {height} px has no grid of {grid} x {grid} equal tiles")
    if grid == 1:
        return image.copy()
    h, w = height // grid, width // grid
    tiles = image.reshape(grid, h, grid, w, 3).swapaxes(1, 2).reshape(grid * grid, h, w, 3)
    generator = np.random.Generator(np.random.PCG64(_number(seed)))
    order = np.arange(grid * grid)
    while (order == np.arange(grid * grid)).all():
        order = generator.permutation(grid * grid)
    return tiles[order].reshape(grid, grid, h, w, 3).swapaxes(1, 2).reshape(image.shape).copy()


def low_pass(image: Image, cutoff: float) -> NDArray[np.float64]:
    """The image's low frequencies, float64 [H, W, 3] on 0..255: a Gaussian in frequency, .5 at ``cutoff``.

    Args:
        image: [H, W, 3]; taken as periodic after mirroring, so that opposite borders do not mix.
        cutoff: in cycles per image side, above 0.
    """
    height, width = image.shape[:2]
    # mirrored to twice its size, where the same cycles per image are twice as many per array
    mirrored = np.pad(image.astype(np.float64), ((0, height), (0, width), (0, 0)), mode="symmetric")
    y, x = np.fft.fftfreq(2 * height) * height, np.fft.rfftfreq(2 * width) * width  # cycles per image side
    gain = 0.5 ** ((y[:, None] ** 2 + x[None] ** 2) / cutoff**2)  # [2 H, W + 1]
    spectrum = np.fft.rfft2(mirrored, axes=(0, 1)) * gain[..., None]
    return np.asarray(np.fft.irfft2(spectrum, s=mirrored.shape[:2], axes=(0, 1))[:height, :width])


def high_and_low(low: Image, high: Image, cutoff: float) -> Image:
    """A hybrid (Oliva, Torralba & Schyns 2006): low frequencies of one image, high ones of another, clipped to 8 bits.

    Args:
        low, high: [H, W, 3], of one size; equal images give that image again.
        cutoff: where both have half their amplitude, in cycles per image side.
    """
    if low.shape != high.shape:
        raise ValueError(f"a hybrid needs two images of one size, got {low.shape} and {high.shape}")
    mixed = low_pass(low, cutoff) + (high - low_pass(high, cutoff))
    return np.asarray(np.clip(np.round(mixed), 0, 255).astype(np.uint8))


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
