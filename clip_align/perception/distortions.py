# SPDX-License-Identifier: Apache-2.0
"""Sixteen of TID2013's 24 distortion types at five levels, re-made from a clean image.

Type and level are TID2013's numbers (Ponomarenko et al., Signal Process. Image Commun. 30 (2015)
57-77). Most types are set by a PSNR over R, G, B that is the same for every image (the ladder of the
database's own PSNR files); blur, JPEG, mean shift and contrast by a parameter, fitted to those files.
Left out: 4 (its masking model is not published in numbers), 9, 12 to 15, 20, 24 (particular coders,
denoisers, places and patches that cannot be known). Re-made, so not the database's own images: coders,
palettes, filter sizes and the fractions of noise and coder in type 21 are our choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.recipes import codecs, noise, optics, tone

LEVELS = (1, 2, 3, 4, 5)
# PSNR over R, G, B at levels 1 to 5 of most types, as in the database's own PSNR files
LADDER_DB = ((33.0,), (30.0,), (27.0,), (24.0,), (21.0,))


@dataclass(frozen=True)
class Distortion:
    """One type: its name in the database, how it is made, and what its five levels are.

    levels: the recipe's arguments at each level; in dB of RGB PSNR where ``unit`` begins with "dB".
    random: the recipe draws a pattern and takes a generator.
    """

    name: str
    make: Callable[..., NDArray[Any]]
    unit: str = "dB"
    levels: tuple[tuple[float, ...], ...] = LADDER_DB
    random: bool = False

    def made(self, image: NDArray[Any], level: int, key: str) -> NDArray[Any]:
        """The image at a level.

        Args:
            image: in the form that the database's recipes share.
            level: 1 (mild) to 5 (strong).
            key: seeds the pattern of a random recipe.

        ValueError for another level.
        """
        if level not in LEVELS:
            raise ValueError(f"distort knows levels 1 to 5, got {level}")
        arguments = self.levels[level - 1]  # levels count from 1
        if not self.random:  # such recipes take no generator
            return self.make(image, *arguments)
        return self.make(image, *arguments, generator(key))


TYPES: dict[int, Distortion] = {
    1: Distortion("additive Gaussian noise", noise.gaussian, random=True),
    2: Distortion("noise stronger in colour components", noise.colour, random=True),
    3: Distortion("spatially correlated noise", noise.correlated, random=True),
    5: Distortion(
        "high frequency noise", noise.high_frequency, levels=((33,), (30,), (25,), (20,), (15,)), random=True
    ),
    6: Distortion("impulse noise", noise.impulse, random=True),
    7: Distortion("quantisation noise", tone.quantisation),
    8: Distortion("Gaussian blur", optics.blur, "sigma, px", ((0.51,), (0.68,), (1.08,), (1.93,), (4.1,))),
    10: Distortion("JPEG", codecs.jpeg, "IJG quality", ((80,), (58,), (22,), (8,), (4,))),
    11: Distortion("JPEG2000", codecs.jpeg2000),
    16: Distortion("mean shift", tone.mean_shift, "grey values", ((6,), (-10,), (20,), (-30,), (40,))),
    17: Distortion("contrast change", tone.contrast, "factor", ((0.9,), (1.2,), (0.75,), (1.45,), (0.5,))),
    18: Distortion("change of colour saturation", tone.saturation),
    19: Distortion("multiplicative Gaussian noise", noise.multiplicative, random=True),
    21: Distortion(
        "lossy compression of noisy images",
        codecs.noisy_jpeg,
        "dB, IJG quality",
        ((33, 70), (30, 50), (27, 30), (24, 15), (21, 10)),
        random=True,
    ),
    22: Distortion("colour quantisation with dither", codecs.palette),
    23: Distortion("chromatic aberrations", optics.aberration, levels=((33,), (28,), (25,), (23,), (21,))),
}


def distort(image: NDArray[np.uint8], type: int, level: int, key: str) -> NDArray[np.uint8]:
    """The image under one of ``TYPES``, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3].
        type: TID2013's number of the distortion, a key of ``TYPES``.
        level: 1 (mild) to 5 (strong).
        key: seeds the noise pattern where the type has one, so it should name image, type and level: the same key
            gives the same pattern on every machine and at every call.

    KeyError for a type that is not re-made, ValueError for another level or form of image.
    """
    refuse_other_images(image)
    made: NDArray[np.uint8] = TYPES[type].made(image, level, key)
    return made


def refuse_other_images(image: NDArray[Any]) -> None:
    """ValueError for an image that is not uint8 [H, W, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"distort needs an image [H, W, 3] of uint8, got {image.shape} of {image.dtype}")


def generator(key: str) -> np.random.Generator:
    """A random generator that depends on the key alone."""
    # PCG64 by name: what default_rng returns may change with NumPy
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "big")
    return np.random.Generator(np.random.PCG64(seed))
