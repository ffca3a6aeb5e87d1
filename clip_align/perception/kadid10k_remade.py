# SPDX-License-Identifier: Apache-2.0
"""The 2,280 pairs on which KADID-10k is re-made: ids and images; the opinions are not embedded.

24 photographs x 19 types x 5 levels. The photographs are not those of the database, so that people's opinion of a pair
is the mean opinion of its type and level over the database's 81 references.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import kadid_distortions, photographs
from clip_align.perception.distortions import LEVELS
from clip_align.perception.recipes.unit_range import rounded, stretched

PART = "kadid10k_remade"  # start of all ids
RECIPE = 1  # raised whenever any recipe gives other pixels: it is part of what a cached image was made from
# photograph, type and level of all pairs, in this order
NAMES = tuple(itertools.product(photographs.NUMBERS, sorted(kadid_distortions.TYPES), LEVELS))


def pair_id(number: int, type: int, level: int) -> str:
    """Id of a distorted image and of its pair: see `photographs.version_id`."""
    return photographs.version_id(PART, number, type, level)


def image(number: int, type: int | None = None, level: int | None = None, *, recipe: int = RECIPE) -> NDArray[np.uint8]:
    """A photograph, or one of its distorted versions, uint8 [384, 512, 3]; the same at every call.

    Args:
        number: of the photograph, 1 to 24; its samples are mapped to the whole range, as by the published generator.
        type: KADID-10k's number of the distortion; None for the photograph itself.
        level: 1 to 5; None for the photograph itself.
        recipe: version of the recipes; an argument because caches key images by their arguments, so that images of
            another version are not taken for these.

    ValueError for another version than the one here.
    """
    photographs.refuse_recipe(recipe, RECIPE)
    clean = photographs.reference(number)
    if type is None or level is None:
        return rounded(stretched(clean))
    return kadid_distortions.distort(clean, type, level, pair_id(number, type, level))
