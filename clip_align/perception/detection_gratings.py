# SPDX-License-Identifier: Apache-2.0
"""Gratings and noise near the human threshold, as conditions of Cai et al., CVPR 2025 (arXiv 2502.20256)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.castle_csf import D65, DIRECTIONS, achromatic_sensitivity, sensitivity

__all__ = ["GRATINGS", "MULTIPLES", "NOISE", "OVER_FREQUENCY", "sensitivities"]

Array = NDArray[np.float64]

MULTIPLES = np.logspace(np.log10(0.5), np.log10(2), 10)  # of a threshold: contrasts near it that are shown
NOISE = "noise"
NOISE_SIGMA = 2.0  # degrees: the authors' thresholds of noise are those of a Gabor of 4 pi square degrees
HIGHEST_YELLOW_VIOLET = 16  # cycles/degree, the authors'; above, twice a threshold is soon outside sRGB
N = 20  # steps along a condition
OVER_FREQUENCY = np.stack([np.geomspace(0.5, 32, N), np.full(N, 1.0), np.full(N, 100.0)], axis=1)
# frequency (cycles/degree), sigma (degrees), luminance (cd/m^2) of the gratings of each condition [N, 3]
GRATINGS: dict[str, Array] = {
    "frequency": OVER_FREQUENCY,
    "area": np.stack([np.full(N, 8.0), np.geomspace(0.1, 1, N), np.full(N, 100.0)], axis=1),
    "luminance": np.stack([np.full(N, 2.0), np.full(N, 1.0), np.geomspace(0.1, 200, N)], axis=1),
    "red_green": OVER_FREQUENCY,
    "yellow_violet": OVER_FREQUENCY[OVER_FREQUENCY[:, 0] < HIGHEST_YELLOW_VIOLET],
    NOISE: OVER_FREQUENCY * (1, NOISE_SIGMA, 1),
}


def sensitivities(condition: str, gratings: Array) -> Array:
    """1 / contrast at threshold [N] by castleCSF.

    Args:
        condition: one of `GRATINGS`. The contrast of ``red_green`` and ``yellow_violet`` is the root mean square of the
            cone contrasts, of ``noise`` the standard deviation, of others that of luminance at the peak.
        gratings: frequency, sigma and luminance [N, 3].
    """
    frequency, sigma, luminance = gratings.T
    if condition in DIRECTIONS:
        return sensitivity(frequency, sigma, D65 * luminance[:, None], DIRECTIONS[condition])
    return achromatic_sensitivity(frequency, sigma, luminance)
