# SPDX-License-Identifier: Apache-2.0
"""Achromatic contrast sensitivity of people by castleCSF, for Gabors that do not flicker, looked at directly.

Ashraf, Mantiuk, Chapiro & Wuerger, "castleCSF - A contrast sensitivity function of color, area, spatiotemporal
frequency, luminance and eccentricity", Journal of Vision 24(4):5, 2024; parameters of gfxdisp/castleCSF (f4b0b72, MIT;
LICENSES/MIT.txt). It was fitted to published thresholds. Without flicker its transient channel is silent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["achromatic_sensitivity"]

Array = NDArray[np.float64]
PEAK = (56.4947, 7.54726, 0.144532, 5.58341e-07, 9.66862e09)  # of sensitivity, as a function of luminance
PEAK_FREQUENCY = (1.78119, 91.5718, 0.256682)  # cycles/degree, as a function of luminance
WIDTH, TRUNCATION = 0.000213047, 0.100207  # of the log-parabola over frequency
AREA, AREA_FREQUENCY = 157.103, 0.702338  # degrees^2, cycles/degree: of the summation over area


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
    critical = AREA / (1 + (f / AREA_FREQUENCY) ** 2)
    return np.asarray(peak * parabola * f * np.sqrt(critical / (1 + critical / (np.pi * s**2))))
