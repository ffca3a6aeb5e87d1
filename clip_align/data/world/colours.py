# SPDX-License-Identifier: Apache-2.0
"""Twelve named colours, and for each the ones that stand out from it in lightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NAMED: dict[str, tuple[float, float, float]] = {
    "red": (0.84, 0.16, 0.15),
    "orange": (0.95, 0.55, 0.13),
    "yellow": (0.94, 0.86, 0.22),
    "green": (0.20, 0.62, 0.24),
    "teal": (0.12, 0.55, 0.57),
    "blue": (0.17, 0.33, 0.82),
    "purple": (0.50, 0.22, 0.66),
    "pink": (0.95, 0.60, 0.74),
    "brown": (0.45, 0.28, 0.14),
    "black": (0.09, 0.09, 0.10),
    "grey": (0.52, 0.52, 0.53),
    "white": (0.93, 0.93, 0.92),
}
COLOURS: tuple[str, ...] = tuple(_NAMED)
RGB = np.array(list(_NAMED.values()), dtype=np.float32)  # [12, 3], sRGB in [0, 1]
JITTER = 0.07  # largest change of each channel
LEAST_CONTRAST = 0.25  # of luma, between a named colour and those that may go with it
CONTRAST = 0.55  # of luma, between the two colours of a texture, as far as black and white allow

_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_luma = RGB @ _WEIGHTS
_partners = [np.flatnonzero(np.abs(_luma - value) >= LEAST_CONTRAST) for value in _luma]


def partner(first: NDArray[np.int64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each colour number in ``first`` one that stands out from it; ``draw`` uniform in [0, 1)."""
    return np.array([_partners[c][int(u * len(_partners[c]))] for c, u in zip(first, draw, strict=True)])


def set_apart(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """``second`` [N, 3], made darker or lighter until it differs from ``first`` by CONTRAST in luma."""
    difference = (second - first) @ _WEIGHTS
    # further apart in the direction in which they already differ; the same amount in R, G, B changes luma by it
    wanted = np.sign(difference) * np.maximum(np.abs(difference), CONTRAST)
    moved: NDArray[np.float32] = np.clip(second + (wanted - difference)[:, None], 0, 1)
    return moved
