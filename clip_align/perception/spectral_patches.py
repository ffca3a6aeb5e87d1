# SPDX-License-Identifier: Apache-2.0
"""30 patches of nearly monochromatic light on a grey field, and the luminous efficiency of their wavelengths.

The 8-bit colors are the definition of the stimuli (Vila-Tomás et al. 2025, doi 10.3389/frai.2025.1665874, property 1);
their wavelengths are 30 equal steps from 400 to 700 nm (data/README.md).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.photographs import DATA

__all__ = ["BACKGROUND", "Patches", "patch", "patches"]

BACKGROUND = (96, 91, 82)  # sRGB of the field


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches, in the order of their wavelengths.

    wavelength: nm [30]. color: sRGB, uint8 [30, 3]. judd_vos, cie_1924: V(lambda) [30], 1 at its peak: as modified by
    Judd and Vos, which the authors compare with, and the standard of 1924.
    """

    wavelength: NDArray[np.float64]
    color: NDArray[np.uint8]
    judd_vos: NDArray[np.float64]
    cie_1924: NDArray[np.float64]


@lru_cache(maxsize=1)
def patches() -> Patches:
    """The embedded table."""
    with (DATA / "spectral_patches.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(row[name]) for row in rows])

    color = np.stack([column(channel) for channel in "RGB"], axis=1).astype(np.uint8)
    return Patches(column("wavelength_nm"), color, column("V_judd_vos_table"), column("V_cie_1924"))


def patch(size: int, color: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    """A square of half the side in the center of the field, uint8 [size, size, 3].

    Args:
        size: side of the image in px; the authors' is 256.
        color: sRGB of the square; None: the field alone.
    """
    image = np.empty((size, size, 3), np.uint8)
    image[:] = BACKGROUND
    if color is not None:
        low, high = size // 4, size // 4 + size // 2
        image[low:high, low:high] = color
    return image
