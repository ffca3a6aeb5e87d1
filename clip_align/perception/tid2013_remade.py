# SPDX-License-Identifier: Apache-2.0
"""The 1,920 re-made pairs: ids, images, and the opinions that TID2013's observers gave of the originals.

24 photographs x 16 types x 5 levels. Opinions and their standard errors are the database's own, unmodified
(data/README.md: source and terms); the images are not (distortions.py).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import distortions, photographs

PART = "tid2013_remade"  # start of all ids
RECIPE = 1  # raised whenever any recipe gives other pixels: it is part of what a cached image was made from


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs, one row each, sorted by reference, type, level.

    reference 1..24, type, level 1..5: int [1920]. opinion: mean opinion score of the database's original,
    0 (worst) to 9, higher = better, found .24 to 7.21. standard_error: of that mean (the database's
    mos_std).
    """

    reference: NDArray[np.int64]
    type: NDArray[np.int64]
    level: NDArray[np.int64]
    opinion: NDArray[np.float64]
    standard_error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.reference)


@lru_cache(maxsize=1)
def pairs() -> Pairs:
    """The table of pairs, read from the embedded scores."""
    with (photographs.DATA / "tid2013_scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Pairs(
        *(np.array([int(row[name]) for row in rows]) for name in ("ref", "type", "level")),
        *(np.array([float(row[name]) for row in rows]) for name in ("mos", "mos_std")),
    )


def reference_id(number: int) -> str:
    """Id of a photograph as a stimulus, ``tid2013_remade/I01``."""
    return photographs.photograph_id(PART, number)


def pair_id(number: int, type: int, level: int) -> str:
    """Id of a distorted image and of its pair: see `photographs.version_id`."""
    return photographs.version_id(PART, number, type, level)


def image(number: int, type: int | None = None, level: int | None = None, *, recipe: int = RECIPE) -> NDArray[np.uint8]:
    """A photograph, or one of its distorted versions, uint8 [384, 512, 3]; the same at every call.

    Args:
        number: of the photograph, 1 to 24.
        type: TID2013's number of the distortion; None for the photograph itself.
        level: 1 (mild) to 5 (strong); None for the photograph itself.
        recipe: version of the recipes; an argument because caches key images by their arguments, so that images of
            another version are not taken for these.

    ValueError for another version than the one here.
    """
    photographs.refuse_recipe(recipe, RECIPE)
    clean = photographs.reference(number)
    if type is None or level is None:
        return clean
    return distortions.distort(clean, type, level, pair_id(number, type, level))
