# SPDX-License-Identifier: Apache-2.0
"""The standard model of foveal detection of spatial contrast: Watson & Ahumada, Journal of Vision 5(9):6, 2005.

It was fitted to the ModelFest thresholds: a positive control of a benchmark on them, not an independent prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WatsonAhumada"]

Array = NDArray[np.float64]
GAIN, LOSS = 373.08, 0.8493  # of the contrast sensitivity function: a difference of two hyperbolic secants
F0, P, F1 = 4.1726, 0.7786, 1.3625  # cycles/degree, exponent, cycles/degree
OBLIQUE_FROM, OBLIQUE_SLOPE = 3.48, 13.57  # of the oblique effect, cycles/degree
APERTURE = 0.6273  # sd of the Gaussian window of the fovea, degrees
BETA = 2.4081  # of the pooling over places


class WatsonAhumada:
    """Contrast energy of the difference from a uniform field, as a measure of two images.

    Args:
        field_deg: that the images span, in degrees of visual angle.
    """

    def __init__(self, field_deg: float) -> None:
        self.field_deg = field_deg

    def __call__(self, field: NDArray[Any], image: NDArray[Any]) -> float:
        """How visible the image is on the field, both square [S, S, 3]; proportional to contrast.

        Contrast is taken of the mean over the channels, as a grey image has it.
        """
        background, grey = (x.astype(np.float64).mean(axis=2) for x in (field, image))
        contrast = (grey - background) / background
        size = len(contrast)
        filtered = np.fft.ifft2(np.fft.fft2(contrast) * _sensitivity(size, self.field_deg)).real
        place = (np.arange(size) - (size - 1) / 2) * self.field_deg / size
        window = np.exp(-(place**2) / (2 * APERTURE**2))
        pooled = (np.abs(filtered * np.outer(window, window)) ** BETA).sum()
        # the sum is over an area, in square degrees: equal for all image sizes
        return float((pooled * (self.field_deg / size) ** 2) ** (1 / BETA))


def _sensitivity(size: int, field_deg: float) -> Array:
    """Contrast sensitivity with the oblique effect [S, S], at the frequencies of a discrete Fourier transform."""
    along = np.fft.fftfreq(size, field_deg / size)  # cycles/degree
    fy, fx = np.meshgrid(along, along, indexing="ij")
    f = np.hypot(fx, fy)
    csf = GAIN * (1 / np.cosh((f / F0) ** P) - LOSS / np.cosh(f / F1))
    oblique = (1 - np.exp(-(f - OBLIQUE_FROM) / OBLIQUE_SLOPE)) * np.sin(2 * np.arctan2(fy, fx)) ** 2
    return np.asarray(csf * np.where(f > OBLIQUE_FROM, 1 - oblique, 1.0))
