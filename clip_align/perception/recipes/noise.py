# SPDX-License-Identifier: Apache-2.0
"""Noise of a given PSNR: types 1, 2, 3, 5, 6 and 19 of TID2013, re-made.

A pattern is drawn once; only its amplitude is searched, so that the PSNR over R, G, B after rounding and
clipping is the requested one, to .01 dB. Definitions: Ponomarenko et al. 2015 (see distortions.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import psnr

ImageArray = NDArray[np.uint8]
Plane = NDArray[np.float32]


def gaussian(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 1: independent Gaussian noise in R, G and B.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.
    """
    return add(image, _normal(rng, image.shape), target_db)


def colour(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 2: Gaussian noise in Y, Cb, Cr (full-range BT.601) with standard deviations 1 : 2 : 2.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.
    """
    y, cb, cr = np.moveaxis(_normal(rng, image.shape), 2, 0)
    f = np.float32
    cb, cr = cb * f(2), cr * f(2)
    # the inverse of full-range BT.601 (JFIF), without the offsets: noise has mean 0
    rgb = np.stack([y + f(1.402) * cr, y - f(0.344136) * cb - f(0.714136) * cr, y + f(1.772) * cb], axis=2)
    return add(image, rgb, target_db)


def correlated(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 3: the noise of type 1 after a 3 x 3 mean filter in each channel.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.
    """
    return add(image, _mean_3x3(_framed(rng, image)), target_db)


def high_frequency(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 5: the noise of type 1 minus its 3 x 3 mean.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.
    """
    noise = _framed(rng, image)
    return add(image, noise[1:-1, 1:-1] - _mean_3x3(noise), target_db)


def multiplicative(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 19: each sample times 1 + s n, n Gaussian, independent in the channels; s is searched.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.

    ValueError for a black image.
    """
    return add(image, _normal(rng, image.shape) * image, target_db)


def impulse(image: ImageArray, target_db: float, rng: np.random.Generator) -> ImageArray:
    """Type 6: each sample of each channel replaced by 0 or 255 with probability p; p follows from the target.

    Args:
        image: uint8 [H, W, 3].
        target_db: PSNR over R, G, B to reach.
        rng: generator of the pattern.

    Samples are taken in a random order until their squared errors add up to the target.
    """
    draw = rng.random(image.size, dtype=np.float32)
    error = np.where(rng.integers(0, 2, image.size, dtype=np.uint8), 255, 0).astype(np.float32) - image.ravel()
    total = psnr.to_mean_square(target_db) * image.size
    # twice as many as are needed on average: sorting these alone is much faster than sorting all samples
    likely = np.flatnonzero(draw < 2 * total / np.square(error).sum(dtype=np.float64))
    # stable: equal draws in the order of the samples
    order = likely[np.argsort(draw[likely], kind="stable")]
    chosen = order[: np.searchsorted(np.cumsum(np.square(error[order], dtype=np.float64)), total)]
    out = image.ravel().copy()
    out[chosen] = (out[chosen] + error[chosen]).astype(np.uint8)
    return out.reshape(image.shape)


def add(image: ImageArray, pattern: Plane, target_db: float) -> ImageArray:
    """Image plus the pattern at the amplitude that gives the PSNR, rounded and clipped.

    Args:
        image: uint8 [H, W, 3].
        pattern: float32 [H, W, 3], of any amplitude.
        target_db: PSNR over R, G, B to reach.

    ValueError where the pattern is empty (type 19 on a black image): no amplitude has that PSNR.
    """
    power = float(np.square(pattern).mean(dtype=np.float64))
    if power == 0:
        raise ValueError("the pattern to be added is 0 everywhere: no amplitude reaches the requested PSNR")
    clean, out = image.astype(np.float32), np.empty(image.shape, dtype=np.float32)
    error = np.empty_like(out)  # both are re-used at every amplitude

    def psnr_at(amplitude: float) -> float:
        np.multiply(pattern, np.float32(amplitude), out=out)
        np.add(out, clean, out=out)
        np.rint(out, out=out)
        np.clip(out, 0, 255, out=out)
        return psnr.from_mean_square(psnr.mean_square(np.subtract(out, clean, out=error)))

    # the last amplitude tried is not always the nearest: ``out`` is made again
    psnr_at(psnr.reach(psnr_at, target_db, (psnr.to_mean_square(target_db) / power) ** 0.5))
    return out.astype(np.uint8)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Plane:
    return rng.standard_normal(shape, dtype=np.float32)


def _framed(rng: np.random.Generator, image: ImageArray) -> Plane:
    """Noise with a frame of one sample, so that the filter has neighbours everywhere."""
    height, width, channels = image.shape
    return _normal(rng, (height + 2, width + 2, channels))  # [H + 2, W + 2, 3]


def _mean_3x3(noise: Plane) -> Plane:
    rows = noise[:-2] + noise[1:-1] + noise[2:]  # separable: sums of three rows, then of three columns
    mean: Plane = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)
    return mean
