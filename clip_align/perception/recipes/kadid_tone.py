# SPDX-License-Identifier: Apache-2.0
"""Tone and color of KADID-10k, re-made from the published generator's description: types 6 to 8, 16 to 18, 22 and 25.

Images are `UnitImage` s: float64 [H, W, 3], sRGB on [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import CubicSpline, lagrange

from clip_align.perception.recipes.unit_range import UnitImage, from_lab, rounded, to_lab

__all__ = [
    "brightening",
    "color_quantization",
    "contrast",
    "darkening",
    "mean_shift",
    "quantization",
    "saturation_hsv",
    "saturation_lab",
    "thresholds",
]

VALUES = 256  # grey values among which thresholds are sought


def color_quantization(image: UnitImage, colors: int) -> UnitImage:
    """Type 6: a palette of that size with Floyd-Steinberg dither.

    The original's palette is of least variance; here it is one of k-means, from every second pixel in both directions.
    """
    pixels = rounded(image)
    sample = Image.fromarray(np.ascontiguousarray(pixels[::2, ::2]))
    palette = sample.quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1)
    dithered = Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(dithered.convert("RGB")) / 255


def saturation_hsv(image: UnitImage, factor: float) -> UnitImage:
    """Type 7: the saturation of HSV times a factor; a negative one turns colors into their opposites."""
    value = image.max(axis=2, keepdims=True)
    # at constant hue and value each channel is value (1 - saturation w), with its own w
    return np.asarray(np.clip(value - factor * (value - image), 0, 1))


def saturation_lab(image: UnitImage, factor: float) -> UnitImage:
    """Type 8: a* and b* times a factor."""
    lab = to_lab(image)
    lab[..., 1:] *= factor
    return from_lab(lab)


def brightening(image: UnitImage, amount: float) -> UnitImage:
    """Type 16: a curve that lifts the middle by half the amount: two parts on R, G, B, one part on L*."""
    lab, middle = to_lab(image), 0.5 + amount / 2
    lab[..., 0] = 100 * _curved(lab[..., 0] / 100, (0.5,), (middle,))
    return np.asarray((2 * _curved(image, (0.5,), (middle,)) + from_lab(lab)) / 3)


def darkening(image: UnitImage, amount: float) -> UnitImage:
    """Type 17: a curve that lowers the middle by half the amount, on R, G, B."""
    return _curved(image, (0.5,), (0.5 - amount / 2,))


def mean_shift(image: UnitImage, amount: float) -> UnitImage:
    """Type 18: the same number added to every sample, clipped."""
    return np.clip(image + amount, 0, 1)


def contrast(image: UnitImage, amount: float) -> UnitImage:
    """Type 25: a curve through .25 - amount/4 at .3, .5 at .5, and .75 + amount/4 at .7; 0 is not without effect."""
    return _curved(image, (0.3, 0.5, 0.7), (0.25 - amount / 4, 0.5, 0.75 + amount / 4))


def quantization(image: UnitImage, count: int) -> UnitImage:
    """Type 22: samples between two of ``count`` thresholds become the upper one, the first ones 0, the last ones 1."""
    values = rounded(image)
    at = thresholds(np.bincount(values.ravel(), minlength=VALUES), count)
    levels = np.array([0.0, *(value / (VALUES - 1) for value in at[1:]), 1.0])
    return np.asarray(levels[np.searchsorted(at, values)])  # a threshold belongs to the class below it


def thresholds(histogram: NDArray[np.integer], count: int) -> list[int]:
    """Grey values, each the last of its class, that make the variance within classes smallest (Otsu's criterion).

    Args:
        histogram: number of samples of each grey value [256].
        count: of thresholds; there is one class more. The best ones are found, not near ones as by a search.
    """
    weight, value = histogram.astype(np.float64), np.arange(len(histogram), dtype=np.float64)
    sums = [np.concatenate([[0.0], np.cumsum(weight * value**power)]) for power in (0, 1)]
    number, total = (s[None, :] - s[:, None] for s in sums)  # [first, end] of the values first to end - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        # between-class part of a class, to be large; classes without values are not allowed
        gain = np.where(np.triu(np.ones_like(number), 1) > 0, np.where(number > 0, total**2 / number, 0.0), -np.inf)
    best, cuts = gain[0], []  # of the values before each end, in one class
    for _ in range(count):
        candidates = best[:, None] + gain  # the last class begins at [first]
        cuts.append(np.argmax(candidates, axis=0))
        best = np.max(candidates, axis=0)
    found, end = [], len(histogram)
    for cut in reversed(cuts):
        end = int(cut[end])
        found.append(end - 1)
    return found[::-1]


def _curved(samples: NDArray[np.float64], at: Sequence[float], to: Sequence[float]) -> NDArray[np.float64]:
    """Samples on [0, 1] under the curve through 0, the given points and 1, clipped: a parabola or a cubic spline."""
    x, y = np.array([0.0, *at, 1.0]), np.array([0.0, *to, 1.0])
    curve = lagrange(x, y) if len(x) == 3 else CubicSpline(x, y, bc_type="not-a-knot")
    return np.asarray(np.clip(curve(samples), 0, 1))
