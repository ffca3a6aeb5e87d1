# SPDX-License-Identifier: Apache-2.0
"""What is in an image: its class, texture, colours and background, and the random numbers for everything else.

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
Draws = NDArray[np.float64]  # random numbers, uniform in [0, 1)
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
# In the order in which an image's generator makes them: another order, or a name more in between, is another world.
_DRAWS = (*_LABELS, *_POSE, *_COLOURS, *_LIGHT, *_PLACE, *_COVER, *_CAPTION)


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes, one row each.

    shape, texture, first, second, background: numbers [N] into SHAPES, TEXTURES, COLOURS (both) and BACKGROUNDS.
    occluded: whether something lies in front [N]. draws: random numbers by name, [N] uniform in [0, 1), for what the
    renderer and the captions choose. generators: each image's own, for its sensor noise.
    """

    shape: Numbers
    texture: Numbers
    first: Numbers
    second: Numbers
    background: Numbers
    occluded: NDArray[np.bool_]
    draws: Mapping[str, Draws]
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
    """The scenes of some images of a set; each depends on its own number alone.

    Args:
        recipe: the world's parameters.
        part: train, test, random_texture or cue_conflict (else KeyError).
        rows: numbers of the images in the set, from 0 [N].
    """
    generators = [recipe.generator(SETS[part], row) for row in rows]
    columns = np.stack([generator.random(len(_DRAWS)) for generator in generators], axis=1)  # [names, N]
    draws = dict(zip(_DRAWS, columns, strict=True))
    shape, texture = _cues(recipe, part, np.asarray(rows), draws)
    first = pick(draws["first"], len(COLOURS))
    return Scenes(
        shape=shape,
        texture=texture,
        first=first,
        second=partner(first, draws["second"]),
        background=pick(draws["background"], len(BACKGROUNDS)),
        occluded=(draws["occluded"] < recipe.occlusion) & (part != "cue_conflict"),
        draws=draws,
        generators=generators,
    )


def pick(draws: Draws, count: int) -> Numbers:
    """Random numbers in [0, 1) as integers 0 … count - 1, equally probable."""
    return (draws * count).astype(np.int64)


def _cues(recipe: Recipe, part: str, rows: Numbers, draws: Mapping[str, Draws]) -> tuple[Numbers, Numbers]:
    """Shape and texture of each scene; the held-out sets go through the classes in turn, so any prefix is balanced."""
    if part == "cue_conflict":
        # all ordered pairs of different classes: an offset of 1 to 15 for each round through the shapes
        pair = rows % (CLASSES * (CLASSES - 1))
        shape = pair % CLASSES
        return shape, (shape + 1 + pair // CLASSES) % CLASSES
    shape = pick(draws["shape"], CLASSES) if part == "train" else rows % CLASSES
    if part == "random_texture":
        return shape, pick(draws["other_texture"], CLASSES)
    other = (shape + 1 + pick(draws["other_texture"], CLASSES - 1)) % CLASSES
    return shape, np.where(draws["typical"] < recipe.texture_reliability, shape, other)
