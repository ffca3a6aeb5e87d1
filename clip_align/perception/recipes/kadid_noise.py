# SPDX-License-Identifier: Apache-2.0
"""Noise of KADID-10k, re-made from the published generator's description: types 11 to 14.

Levels are variances, of samples on [0, 1], or the fraction of samples. Images are `UnitImage` s: float64 [H, W, 3].
"""

from __future__ import annotations

import numpy as np

from clip_align.perception.recipes.unit_range import UnitImage

__all__ = ["gaussian", "gaussian_in_components", "impulse", "multiplicative"]

# BT.601 in studio range, as it is used for 8-bit video: Y' from 16 to 235, Cb and Cr from 16 to 240, of 255
TO_COMPONENTS = np.array([(65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214)]) / 255
FROM_COMPONENTS = np.linalg.inv(TO_COMPONENTS)
OFFSET = np.array([16.0, 128.0, 128.0]) / 255


def gaussian(image: UnitImage, variance: float, rng: np.random.Generator) -> UnitImage:
    """Type 11: independent Gaussian noise in R, G and B.

    Args:
        image: on [0, 1].
        variance: of the noise.
        rng: generator of the noise.
    """
    return np.asarray(np.clip(image + np.sqrt(variance) * rng.standard_normal(image.shape), 0, 1))


def gaussian_in_components(image: UnitImage, variance: float, rng: np.random.Generator) -> UnitImage:
    """Type 12: independent Gaussian noise in Y', Cb and Cr of studio range.

    Args:
        image: on [0, 1].
        variance: of the noise, of components on [0, 1].
        rng: generator of the noise.
    """
    components = image @ TO_COMPONENTS.T + OFFSET
    noisy = np.clip(components + np.sqrt(variance) * rng.standard_normal(image.shape), 0, 1)
    return np.asarray(np.clip((noisy - OFFSET) @ FROM_COMPONENTS.T, 0, 1))


def impulse(image: UnitImage, density: float, rng: np.random.Generator) -> UnitImage:
    """Type 13: a fraction of the samples, independently in the channels, becomes 0 or 1.

    Args:
        image: on [0, 1].
        density: that fraction; half of it becomes 0.
        rng: generator of the places.
    """
    draw = rng.random(image.shape)
    return np.select([draw < density / 2, draw < density], [0.0, 1.0], image)


def multiplicative(image: UnitImage, variance: float, rng: np.random.Generator) -> UnitImage:
    """Type 14: each sample times 1 + n, n uniform about 0.

    Args:
        image: on [0, 1].
        variance: of n.
        rng: generator of the noise.
    """
    half = np.sqrt(3 * variance)  # of the interval of a uniform n
    return np.clip(image * (1 + rng.uniform(-half, half, image.shape)), 0, 1)
