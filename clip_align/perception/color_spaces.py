# SPDX-License-Identifier: Apache-2.0
"""Color spaces, and how different two sRGB images are in them.

Linear RGB is on [0, 1]; XYZ is the CIE 1931 one with Y = 1 at white; white is D65. All arrays are [..., 3], float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SPACES",
    "ColorDistance",
    "decoded",
    "encoded",
    "lab",
    "linear_rgb",
    "luv",
    "oklab",
    "xyz",
    "xyz_from_chromaticity",
    "xyz_from_lab",
]

Array = NDArray[np.float64]

# IEC 61966-2-1:1999, the standard's own four digits
RGB_TO_XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ)
WHITE = RGB_TO_XYZ.sum(axis=1)  # XYZ of D65
# Ottosson, "A perceptual color space for image processing" (2020)
RGB_TO_CONES = np.array(
    [
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ]
)
CONES_TO_OKLAB = np.array(
    [
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ]
)
DARK = 6 / 29  # CIE 15: below its cube L* is linear


def encoded(linear: ArrayLike) -> Array:
    """sRGB on [0, 1] of linear RGB; values outside [0, 1] are extended, odd about 0."""
    value = np.asarray(linear, dtype=np.float64)
    size = np.abs(value)
    return np.sign(value) * np.where(size <= 0.0031308, 12.92 * size, 1.055 * size ** (1 / 2.4) - 0.055)


def decoded(srgb: ArrayLike) -> Array:
    """Linear RGB of sRGB on [0, 1]."""
    value = np.asarray(srgb, dtype=np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0) + 0.055) / 1.055) ** 2.4)


def xyz(linear: ArrayLike) -> Array:
    """XYZ of linear RGB."""
    return np.asarray(np.asarray(linear) @ RGB_TO_XYZ.T)


def linear_rgb(xyz: ArrayLike) -> Array:
    """Linear RGB of XYZ; outside [0, 1] where a display cannot show it."""
    return np.asarray(np.asarray(xyz) @ XYZ_TO_RGB.T)


def xyz_from_chromaticity(x: ArrayLike, y: ArrayLike, luminance: float) -> Array:
    """XYZ [N, 3] of chromaticities x [N], y [N] at one luminance Y, relative to white."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return np.stack([x / y * luminance, np.full_like(x, luminance), (1 - x - y) / y * luminance], axis=-1)


def lab(xyz: ArrayLike) -> Array:
    """CIELAB of XYZ, relative to D65."""
    ratio = np.asarray(xyz) / WHITE
    f = np.where(ratio > DARK**3, np.cbrt(ratio), ratio / (3 * DARK**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def xyz_from_lab(lab: ArrayLike) -> Array:
    """XYZ of CIELAB, relative to D65: the inverse of `lab`."""
    lightness, a, b = np.moveaxis(np.asarray(lab, dtype=np.float64), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    return np.asarray(np.where(f > DARK, f**3, 3 * DARK**2 * (f - 4 / 29)) * WHITE)


def luv(xyz: ArrayLike) -> Array:
    """CIELUV of XYZ, relative to D65; NaN for black, which has no chromaticity."""
    lightness = lab(xyz)[..., 0]
    (u, v), (white_u, white_v) = _uv(np.asarray(xyz)), _uv(WHITE)
    return np.stack([lightness, 13 * lightness * (u - white_u), 13 * lightness * (v - white_v)], axis=-1)


def oklab(linear: ArrayLike) -> Array:
    """Oklab of linear RGB."""
    return np.asarray(np.cbrt(np.asarray(linear) @ RGB_TO_CONES.T) @ CONES_TO_OKLAB.T)


def _uv(xyz: Array) -> tuple[Array, Array]:
    whole = xyz[..., 0] + 15 * xyz[..., 1] + 3 * xyz[..., 2]
    with np.errstate(invalid="ignore"):  # 0/0 for black
        return 4 * xyz[..., 0] / whole, 9 * xyz[..., 1] / whole


# coordinates of linear RGB, by the name of the space
SPACES: dict[str, Callable[[Array], Array]] = {
    "sRGB": encoded,
    "linear RGB": lambda linear: linear,
    "XYZ": xyz,
    "luminance": lambda linear: xyz(linear)[..., 1:2],
    "CIELAB": lambda linear: lab(xyz(linear)),
    "CIELUV": lambda linear: luv(xyz(linear)),
    "Oklab": oklab,
}


class ColorDistance:
    """Root of the mean squared difference of two images, over pixels and coordinates of a color space.

    In sRGB it is the pixel RMSE. An observer without an embedding: `perception.observers` says what for.

    Args:
        space: one of `SPACES`.
    """

    def __init__(self, space: str = "sRGB") -> None:
        self.space = space

    def __call__(self, image: NDArray[Any], other: NDArray[Any]) -> float:
        """The distance of two images [H, W, 3], uint8 or float32 in [0, 1]."""
        a, b = (_coordinates(x, self.space) for x in (image, other))
        return float(np.sqrt(np.mean((a - b) ** 2)))


def _coordinates(image: NDArray[Any], space: str) -> Array:
    srgb = image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
    # decoding and encoding again would only round
    return srgb if space == "sRGB" else SPACES[space](decoded(srgb))
