# SPDX-License-Identifier: Apache-2.0
"""Pixel measures of the pairs on which KADID-10k is re-made: the bars of ``human/kadid10k_remade``.

``python -m clip_align.perception.kadid10k_baselines [file]`` makes all images and writes the table
``data/kadid10k_remade_baselines.csv`` (some minutes on two cores).
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import photographs, pixel_measures
from clip_align.perception.kadid10k_remade import NAMES, image

__all__ = ["TABLE", "main", "measure", "table"]

TABLE = photographs.DATA / "kadid10k_remade_baselines.csv"


def measure(number: int, type: int, level: int) -> tuple[float, float, float]:
    """PSNR over RGB, PSNR of luminance (dB), SSIM of one re-made image against its photograph.

    Args:
        number: of the photograph, 1 to 24.
        type: KADID-10k's number of the distortion.
        level: 1 to 5.
    """
    return pixel_measures.measure(image(number), image(number, type, level))


@lru_cache(maxsize=1)
def table() -> dict[str, NDArray[np.float64]]:
    """The embedded measures by name, float64 [2280], in the order of ``NAMES``; larger = more alike."""
    return pixel_measures.read(TABLE, NAMES, "python -m clip_align.perception.kadid10k_baselines")


def main(target: Path) -> None:
    """Measure all pairs on all cores and write the table."""
    pixel_measures.write(target, NAMES, measure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
