# SPDX-License-Identifier: Apache-2.0
"""The embedded photographs: 24 crops of the Kodak PhotoCD suite (origin and terms: data/README.md)."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).resolve().parent / "data"
NUMBERS = tuple(range(1, 25))


@dataclass(frozen=True)
class Crop:
    """Where a photograph comes from.

    exact: the crop is TID2013's reference to the last pixel; otherwise it is the centre of the same photograph,
    because the database's offset is not known. sha256_16: first 16 hex digits of the SHA-256 of its RGB bytes.
    """

    number: int
    source: str
    x: int
    y: int
    exact: bool
    sha256_16: str


@lru_cache(maxsize=1)
def crops() -> dict[int, Crop]:
    """All 24 crops by number."""
    with (DATA / "crops.csv").open(newline="", encoding="utf-8") as file:
        return {
            int(row["file"][1:3]): Crop(
                int(row["file"][1:3]),
                row["source"],
                int(row["x"]),
                int(row["y"]),
                row["offset"] == "exact",
                row["sha256_rgb_16"],
            )
            for row in csv.DictReader(file)
        }


def photograph_id(part: str, number: int) -> str:
    """Id of a photograph as a stimulus of a re-made set, ``tid2013_remade/I01``."""
    return f"{part}/I{number:02d}"


def version_id(part: str, number: int, type: int, level: int) -> str:
    """Id of a distorted photograph as a stimulus of a re-made set, and of its pair, ``tid2013_remade/I01_08_3``.

    Args:
        part: name of the set.
        number: of the photograph, 1 to 24.
        type: number of the distortion in the database that the set re-makes.
        level: 1 to 5.
    """
    return f"{photograph_id(part, number)}_{type:02d}_{level}"


def refuse_recipe(asked: int, here: int) -> None:
    """ValueError where images of another version of the recipes are asked for than those here."""
    if asked != here:  # an argument kept from another release
        raise ValueError(f"images of recipe version {asked} cannot be made here, only of {here}")


@lru_cache(maxsize=len(NUMBERS))
def reference(number: int) -> NDArray[np.uint8]:
    """Photograph I01 to I24 by number, uint8 [384, 512, 3], read-only (it is kept: 0.6 MB each).

    ValueError when the decoded pixels are not those embedded (a damaged file, a lossy decoder).
    """
    crop = crops()[number]
    file = DATA / f"I{number:02d}.webp"
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    found = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    if found != crop.sha256_16:
        raise ValueError(f"{file}: its pixels have SHA-256 {found}…, expected {crop.sha256_16}…; reinstall clip-align")
    pixels.flags.writeable = False  # one array for all callers
    return pixels
