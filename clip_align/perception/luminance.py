# SPDX-License-Identifier: Apache-2.0
"""Luminance of 8-bit RGB images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def luminance(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma Y of full-range BT.601, [H, W, 3] uint8 -> [H, W] float32 on 0..255, not rounded."""
    red, green, blue = (image[:, :, channel].astype(np.float32) for channel in range(3))
    red *= np.float32(0.299)
    green *= np.float32(0.587)
    blue *= np.float32(0.114)
    red += green  # in place, in this order: the last bits are the same everywhere
    red += blue
    return red
