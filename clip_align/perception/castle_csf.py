# SPDX-License-Identifier: Apache-2.0
"""Contrast sensitivity of people by castleCSF, for Gabors that do not flicker, looked at directly.

Ashraf, Mantiuk, Chapiro & Wuerger, "castleCSF - A contrast sensitivity function of color, area, spatiotemporal
frequency, luminance and eccentricity", Journal of Vision 24(4):5, 2024; parameters of gfxdisp/castleCSF (f4b0b72, MIT;
LICENSES/MIT.txt). It was fitted to published thresholds. Without flicker its transient channel is silent. Colors are
CIE 2006 responses of the L, M and S cones, L + M = luminance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["D65", "DIRECTIONS", "achromatic_sensitivity", "sensitivity", "unit_contrast"]

Array = NDArray[np.float64]
PEAK = (56.4947, 7.54726, 0.144532, 5.58341e-07, 9.66862e09)  # of sensitivity, as a function of luminance
PEAK_FREQUENCY = (1.78119, 91.5718, 0.256682)  # cycles/degree, as a function of luminance
WIDTH, TRUNCATION = 0.000213047, 0.100207  # of the log-parabola over frequency
AREA, AREA_FREQUENCY = 157.103, 0.702338  # degrees^2, cycles/degree: of the summation over area


class Channel(NamedTuple):
    """A chromatic channel; ``peak``, ``width``, ``area`` and ``area_frequency`` as of the achromatic one above."""

    peak: tuple[float, float, float]
    peak_frequency: float
    width: float
    area: float
    area_frequency: float


CHROMATIC = (  # red-green, yellow-violet
    Channel((681.434, 38.0038, 0.480386), 0.0178364, 2.42104, 2816.44, 0.0711058),
    Channel((166.683, 62.8974, 0.41193), 0.00425753, 2.68197, 2.82789e07, 0.000635093),
)
# responses of the three channels to L, M, S
OPPONENT = np.array([(1, 1, 0), (1, -2.3112, 0), (-1, -1, 50.9875)])
D65 = np.array([0.6991, 0.3009, 0.0198])  # cone responses to white, at L + M = 1
DIRECTIONS = {"red_green": np.array([1.0, -1.0, 0.0]), "yellow_violet": np.array([0.0, 0.0, 1.0])}  # changes of L, M, S


def achromatic_sensitivity(frequency: ArrayLike, sigma: ArrayLike, luminance: ArrayLike) -> Array:
    """1 / peak contrast at threshold, of Gabors on a field; arguments are broadcast.

    Args:
        frequency: cycles/degree.
        sigma: of the Gaussian, degrees.
        luminance: of the field, cd/m^2.
    """
    f, s, y = (np.asarray(v, dtype=np.float64) for v in (frequency, sigma, luminance))
    gain, slope, power, roll_off, roll_off_power = PEAK
    peak = gain * (1 + slope / y) ** -power * (1 - (1 + roll_off / y) ** -roll_off_power)
    at, at_slope, at_power = PEAK_FREQUENCY
    center = at * (1 + at_slope / y) ** -at_power
    parabola = 10 ** (-((np.log10(f) - np.log10(center)) ** 2) / 2**WIDTH)
    # to the left of its peak the parabola is cut off
    parabola = np.where((f < center) & (parabola < 1 - TRUNCATION), 1 - TRUNCATION, parabola)
    return np.asarray(peak * parabola * f * _summation(f, s, AREA, AREA_FREQUENCY))


def sensitivity(frequency: ArrayLike, sigma: ArrayLike, background: ArrayLike, change: ArrayLike) -> Array:
    """1 / root mean square of the cone contrasts at threshold, of Gabors [N] that change in any direction of color.

    Args:
        frequency: cycles/degree, [N] or a number, as all others.
        sigma: of the Gaussian, degrees.
        background: L, M, S of the field, cd/m^2, [N, 3] or [3].
        change: direction of the change of L, M, S, of any length, [N, 3] or [3].
    """
    f, s, field = (np.asarray(v, dtype=np.float64) for v in (frequency, sigma, background))
    luminance = field[..., 0] + field[..., 1]
    # post-receptoral contrasts: of all three channels to the achromatic response to the field
    contrasts = np.abs(unit_contrast(change, field) @ OPPONENT.T) / luminance[..., None]
    channels = [achromatic_sensitivity(f, s, luminance)]
    channels += [_chromatic(channel, f, s, luminance) for channel in CHROMATIC]
    return np.asarray(np.sqrt(np.sum((contrasts * np.stack(channels, axis=-1)) ** 2, axis=-1)))


def unit_contrast(change: ArrayLike, background: ArrayLike) -> Array:
    """The change of L, M, S [..., 3] whose cone contrasts have a root mean square of 1.

    Args:
        change: any change in the same direction, [..., 3].
        background: L, M, S of the field, [..., 3].
    """
    ratio = np.asarray(change, dtype=np.float64) / np.asarray(background)
    return np.asarray(change / np.sqrt(np.mean(ratio**2, axis=-1, keepdims=True)))


def _chromatic(channel: Channel, f: Array, s: Array, luminance: Array) -> Array:
    gain, slope, power = channel.peak
    peak = gain * (1 + slope / luminance) ** -power
    distance = np.maximum(np.log10(f) - np.log10(channel.peak_frequency), 0)  # to the left of its peak it is flat
    return np.asarray(
        peak * 10 ** -(distance**2 / 2**channel.width) * f * _summation(f, s, channel.area, channel.area_frequency)
    )


def _summation(f: Array, s: Array, area: float, area_frequency: float) -> Array:
    critical = area / (1 + (f / area_frequency) ** 2)
    return np.asarray(np.sqrt(critical / (1 + critical / (np.pi * s**2))))
