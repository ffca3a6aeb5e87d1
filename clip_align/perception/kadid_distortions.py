# SPDX-License-Identifier: Apache-2.0
"""Nineteen of KADID-10k's 25 distortion types at five levels, re-made from a clean image.

Type and level are KADID-10k's numbers (Lin, Hosu and Saupe, QoMEX 2019); what a type does and its parameters are those
of the MATLAB code that its authors publish for KADIS-700k, rewritten. Left out: 5, 19, 20, 21, 23 (random places and
further rules) and 15 (a trained denoiser). Re-made, so not the database's own images: random patterns, directions, the
palette of type 6, the thresholds of type 22 (here the best ones, there found by a search) and the coders are ours.

Levels of types 18 and 25 go from one direction of change to the other: they are no strengths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.distortions import Distortion, refuse_other_images
from clip_align.perception.recipes import codecs, kadid_filters, kadid_noise, kadid_tone
from clip_align.perception.recipes.unit_range import UnitImage, in_8_bits, rounded, stretched

__all__ = ["TYPES", "UNCHANGED", "distort"]

# type and level whose parameter changes nothing
UNCHANGED = ((1, 1), (3, 1), (8, 1), (18, 3))


def _type(
    name: str, make: Callable[..., UnitImage], unit: str, levels: tuple[float, ...], random: bool = False
) -> Distortion:
    return Distortion(name, make, unit, tuple((level,) for level in levels), random)


TYPES: dict[int, Distortion] = {
    1: _type("Gaussian blur", kadid_filters.gaussian_blur, "sigma, px", (0.1, 0.5, 1, 2, 5)),
    2: _type("lens blur", kadid_filters.lens_blur, "radius, px", (1, 2, 4, 6, 8)),
    3: _type("motion blur", kadid_filters.motion_blur, "length, px", (1, 2, 4, 6, 10), random=True),
    4: _type("color diffusion", kadid_filters.color_diffusion, "amount", (1, 3, 6, 8, 12)),
    6: _type("color quantization", kadid_tone.color_quantization, "colors", (64, 48, 32, 16, 8)),
    7: _type("color saturation, HSV", kadid_tone.saturation_hsv, "factor", (0.4, 0.2, 0.1, 0, -0.4)),
    8: _type("color saturation, Lab", kadid_tone.saturation_lab, "factor", (1, 2, 3, 6, 9)),
    9: _type("JPEG2000", in_8_bits(codecs.jpeg2000_at_ratio), "compression ratio", (16, 32, 45, 120, 400)),
    10: _type("JPEG", in_8_bits(codecs.jpeg), "IJG quality", (43, 36, 24, 7, 4)),
    11: _type("white noise", kadid_noise.gaussian, "variance", (0.001, 0.002, 0.003, 0.005, 0.01), random=True),
    12: _type(
        "white noise in color components",
        kadid_noise.gaussian_in_components,
        "variance",
        (0.0001, 0.0005, 0.001, 0.002, 0.003),
        random=True,
    ),
    13: _type("impulse noise", kadid_noise.impulse, "fraction", (0.001, 0.005, 0.01, 0.02, 0.03), random=True),
    14: _type(
        "multiplicative noise", kadid_noise.multiplicative, "variance", (0.001, 0.005, 0.01, 0.02, 0.05), random=True
    ),
    16: _type("brighten", kadid_tone.brightening, "amount", (0.1, 0.2, 0.4, 0.7, 1.1)),
    17: _type("darken", kadid_tone.darkening, "amount", (0.05, 0.1, 0.2, 0.4, 0.8)),
    18: _type("mean shift", kadid_tone.mean_shift, "shift", (0.15, 0.08, 0, -0.08, -0.15)),
    22: _type("quantization", kadid_tone.quantization, "thresholds", (20, 16, 13, 10, 7)),
    24: _type("high sharpen", kadid_filters.sharpening, "amount", (1, 2, 3, 6, 12)),
    25: _type("contrast change", kadid_tone.contrast, "amount", (0.3, 0.15, 0, -0.4, -0.6)),
}


def distort(image: NDArray[np.uint8], type: int, level: int, key: str) -> NDArray[np.uint8]:
    """The image under one of ``TYPES``, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3]; it is mapped to the whole range first, as by the published generator.
        type: KADID-10k's number of the distortion, a key of ``TYPES``.
        level: 1 to 5.
        key: seeds what is random, so it should name image, type and level: the same key gives the same image on every
            machine and at every call.

    KeyError for a type that is not re-made, ValueError for another level or form of image.
    """
    refuse_other_images(image)
    return rounded(stretched(TYPES[type].made(stretched(image), level, key)))
