# SPDX-License-Identifier: Apache-2.0
"""What is in an image: its class, texture, colours and background, and the lots for all else.

Every image has random numbers of its own, seeded by the world's seed, the set and the image's number. So an image
is the same whichever process makes it, and beside whichever others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.data.world.backgrounds import BACKGROUNDS
from clip_align.data.world.colours import COLOURS, partner
from clip_align.data.world.recipe import SETS, Recipe
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.textures import TEXTURES

Numbers = NDArray[np.int64]
Lots = NDArray[np.float64]  # uniform in [0, 1)
CLASSES = len(SHAPES)  # class k is shape k; the texture typical of it is texture k
REPEATS = 4  # cue-conflict images of each ordered pair of classes
HELD_OUT_SIZES = {"test": 512, "random_texture": 240, "cue_conflict": REPEATS * CLASSES * (CLASSES - 1)}

_LABELS = ("shape", "typical", "other_texture", "first", "second", "background", "occluded")
_POSE = ("scale", "aspect", "shear", "turn", "mirror", "x", "y", "cycles", "texture_turn", "texture_x", "texture_y")
_COLOURS = ("red", "green", "blue", "red2", "green2", "blue2")
_LIGHT = ("shade", "shade_turn", "contrast", "brightness", "noise")
_PLACE = ("canvas", "left", "top", "flips")
_COVER = ("cover_turn", "cover_depth", "cover_kind", "cover_canvas", "cover_left", "cover_top", "cover_flips")
_CAPTION = ("template", "colour_word", "texture_word", "background_word", "phrase")
_LOTS = (*_LABELS, *_POSE, *_COLOURS, *_LIGHT, *_PLACE, *_COVER, *_CAPTION)


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes, one row each.

    shape, texture, first, second, background: numbers [N] into SHAPES, TEXTURES, COLOURS (both) and BACKGROUNDS.
    occluded: whether something lies in front [N]. lots: by name, [N] uniform in [0, 1), for all that the renderer and
    the captions still have to choose. generators: each image's own, for its sensor noise.
    """

    shape: Numbers
    texture: Numbers
    first: Numbers
    second: Numbers
    background: Numbers
    occluded: NDArray[np.bool_]
    lots: Mapping[str, Lots]
    generators: Sequence[np.random.Generator]

    def __len__(self) -> int:
        return len(self.shape)

    def names(self, row: int) -> dict[str, str | bool]:
        """What is in image ``row``, in words."""
        return {
            "shape": SHAPES[self.shape[row]],
            "texture": TEXTURES[self.texture[row]],
            "colour": COLOURS[self.first[row]],
            "second_colour": COLOURS[self.second[row]],
            "background": BACKGROUNDS[self.background[row]],
            "occluded": bool(self.occluded[row]),
        }


def draw_scenes(recipe: Recipe, part: str, rows: Sequence[int]) -> Scenes:
    """The scenes with numbers ``rows`` of a set: train, test, random_texture or cue_conflict."""
    generators = [recipe.generator(SETS[part], row) for row in rows]
    columns = np.stack([generator.random(len(_LOTS)) for generator in generators], axis=1)  # [names, N]
    lots = dict(zip(_LOTS, columns, strict=True))
    shape, texture = _cues(recipe, part, np.asarray(rows), lots)
    first = pick(lots["first"], len(COLOURS))
    return Scenes(
        shape=shape,
        texture=texture,
        first=first,
        second=partner(first, lots["second"]),
        background=pick(lots["background"], len(BACKGROUNDS)),
        occluded=(lots["occluded"] < recipe.occlusion) & (part != "cue_conflict"),
        lots=lots,
        generators=generators,
    )


def pick(lots: Lots, count: int) -> Numbers:
    """Lots in [0, 1) as numbers 0 … count - 1."""
    return (lots * count).astype(np.int64)


def _cues(recipe: Recipe, part: str, rows: Numbers, lots: Mapping[str, Lots]) -> tuple[Numbers, Numbers]:
    """Shape and texture of each scene; the held-out sets go through the classes in turn, so any prefix is balanced."""
    if part == "cue_conflict":
        pair = rows % (CLASSES * (CLASSES - 1))
        shape = pair % CLASSES
        return shape, (shape + 1 + pair // CLASSES) % CLASSES
    shape = pick(lots["shape"], CLASSES) if part == "train" else rows % CLASSES
    if part == "random_texture":
        return shape, pick(lots["other_texture"], CLASSES)
    other = (shape + 1 + pick(lots["other_texture"], CLASSES - 1)) % CLASSES
    return shape, np.where(lots["typical"] < recipe.texture_reliability, shape, other)
