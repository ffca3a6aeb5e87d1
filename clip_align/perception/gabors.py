# SPDX-License-Identifier: Apache-2.0
"""Images of Gabors, in luminance and in color, as float32 sRGB without rounding to 8 bits.

One grey level is a contrast of .008, and human thresholds go down to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.color_spaces import encoded, linear_rgb

__all__ = ["Rendering", "below_nyquist", "color_gabor", "gabor", "largest_contrast", "luminance_gabor"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Rendering = Literal["encoded", "linear"]

# castleCSF, lms2006_2xyz: CIE 2006 cone responses, L + M = luminance, to XYZ 1931, for the spectra of an LED-lit LCD
LMS_TO_XYZ = np.array(
    [
        (2.629129278, -3.780202392, 10.294956388),
        (0.865649062, 1.215555812, -0.984175688),
        (-0.008886561, 0.081612629, 51.371024831),
    ]
)
BACKGROUND = 0.5  # luminance of the fields, encoded or relative to white
EDGE = 1e-3  # a frequency of exactly half the pixels a degree is left out, in whichever rounding


def below_nyquist(frequency: Array, size: int, field_deg: float) -> NDArray[np.bool_]:
    """Which frequencies an image can carry: those below half its pixels a degree.

    Args:
        frequency: cycles/degree [N].
        size: side of the image in px.
        field_deg: that the side spans, in degrees of visual angle.
    """
    return np.asarray(frequency < size / field_deg / 2 * (1 - EDGE))


def gabor(size: int, field_deg: float, frequency: float, sigma: float, phase_deg: float = 0) -> Array:
    """A horizontal grating under a Gaussian, centered, [size, size], 1 at its peak in cosine phase.

    Args:
        size: side in px.
        field_deg: that the side spans, in degrees of visual angle.
        frequency: cycles/degree.
        sigma: of the Gaussian, degrees.
        phase_deg: of the grating at the center, 0 for cosine, 90 for sine.
    """
    place = (np.arange(size) - (size - 1) / 2) * field_deg / size  # of the pixels' centers, degrees
    window = np.exp(-(place**2) / (2 * sigma**2))
    return np.outer(np.cos(2 * np.pi * frequency * place - np.radians(phase_deg)) * window, window)


def luminance_gabor(
    size: int,
    field_deg: float,
    frequency: float,
    sigma: float,
    contrast: float,
    rendering: Rendering = "encoded",
    phase_deg: float = 0,
) -> Image:
    """A grey Gabor on a field of .5, float32 [size, size, 3].

    Args:
        size, field_deg, frequency, sigma, phase_deg: as for `gabor`.
        contrast: peak contrast, 0 (the uniform field) to 1.
        rendering: the field and the contrast are those of the sRGB values (``encoded``), or of linear light.
    """
    value = BACKGROUND * (1 + contrast * gabor(size, field_deg, frequency, sigma, phase_deg))
    grey = encoded(value) if rendering == "linear" else value
    return np.repeat(grey.astype(np.float32)[..., None], 3, axis=2)


def color_gabor(
    size: int,
    field_deg: float,
    frequency: float,
    sigma: float,
    contrast: float,
    background: Sequence[float],
    cones: Sequence[float],
    phase_deg: float = 0,
) -> Image:
    """A Gabor in a direction of color space, on a field with half of white's luminance, float32 [size, size, 3].

    Args:
        size, field_deg, frequency, sigma, phase_deg: as for `gabor`.
        contrast: RMS cone contrast at the peak, 0 for the uniform field.
        background: LMS of the field.
        cones: change of LMS at unit contrast.

    ValueError for a contrast that sRGB cannot show.
    """
    field, change = _linear(background, cones)
    modulation = contrast * gabor(size, field_deg, frequency, sigma, phase_deg)
    linear = field + modulation[..., None] * change
    if linear.min() < 0 or linear.max() > 1:
        raise ValueError(f"an RMS cone contrast of {contrast:g} is outside sRGB in this direction")
    return encoded(linear).astype(np.float32)


@lru_cache(maxsize=64)
def largest_contrast(background: tuple[float, ...], cones: tuple[float, ...]) -> float:
    """The largest RMS cone contrast of a grating of either sign that sRGB can show.

    Args:
        background, cones: as for `color_gabor`.
    """
    field, change = _linear(background, cones)
    return float((np.minimum(field, 1 - field) / np.abs(change)).min())


def _linear(background: Sequence[float], cones: Sequence[float]) -> tuple[Array, Array]:
    """The field, and what unit contrast adds to it, in linear RGB; the field's luminance is scaled to `BACKGROUND`."""
    field, change = (LMS_TO_XYZ @ np.asarray(v) for v in (background, cones))
    scale = BACKGROUND / field[1]
    return linear_rgb(field * scale), linear_rgb(change * scale)
