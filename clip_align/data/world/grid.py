# SPDX-License-Identifier: Apache-2.0
"""Draws an overview of the world: above, training images; below, each shape (row) in each texture (column).

    python -m clip_align.data.world.grid docs/world.png [key=value …]

The keys are those of `Recipe`, the values JSON: ``texture_reliability=0.5 scale=[0.5,0.9]``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.data.world.recipe import Recipe
from clip_align.data.world.render import render
from clip_align.data.world.scenes import CLASSES, draw_scenes

ORDINARY_ROWS = 5
GAP_PX = 8
ZOOM = 2


def grid(recipe: Recipe) -> NDArray[np.uint8]:
    """One image [H, W, 3] of ORDINARY_ROWS rows of training images and 16 rows of shapes by textures."""
    ordinary = render(recipe, draw_scenes(recipe, "train", range(ORDINARY_ROWS * CLASSES)), held_out=False)
    # other rows than above, so that no image is shown twice
    scenes = draw_scenes(replace(recipe, occlusion=0.0), "train", range(1000, 1000 + CLASSES**2))
    shape, texture = np.divmod(np.arange(CLASSES**2), CLASSES)
    crossed = render(recipe, replace(scenes, shape=shape, texture=texture), held_out=False)
    gap = np.full((GAP_PX, CLASSES * recipe.size, 3), 255, dtype=np.uint8)
    return np.concatenate([_tiled(ordinary), gap, _tiled(crossed)])


def _tiled(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, size, _, _ = images.shape
    rows = images.reshape(-1, CLASSES, size, size, 3).swapaxes(1, 2)  # [rows, size, columns, size, 3]
    return rows.reshape(-1, CLASSES * size, 3)


def main() -> None:
    """Write the image, enlarged, with a palette of 128 colours."""
    values = {key: json.loads(value) for key, _, value in (word.partition("=") for word in sys.argv[2:])}
    recipe = Recipe.from_json(json.dumps({**asdict(Recipe()), **values}))
    image = Image.fromarray(grid(recipe))
    small = image.quantize(128, dither=Image.Dither.NONE)
    enlarged = small.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.NEAREST)
    enlarged.save(Path(sys.argv[1]), optimize=True)


if __name__ == "__main__":
    main()
