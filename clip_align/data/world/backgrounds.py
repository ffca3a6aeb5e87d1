# SPDX-License-Identifier: Apache-2.0
"""Backgrounds: large canvases of 1/f noise and of dead leaves, from which images are cut.

Both have the spectrum of natural scenes (Ruderman 1997: occluding patches whose sizes follow a power law); dead leaves
have its edges too, so that an object is not the only thing with an outline.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clip_align.data.world.recipe import CANVASES, Recipe

BACKGROUNDS = ("cloudy", "leafy")
CANVAS_FACTOR = 4  # side of a canvas in sides of a supersampled image
COUNT = {"train": 32, "held_out": 12}  # canvases of each kind at 32 px; fewer where images are larger
_RADII = (0.06, 1.0)  # of dead leaves, smallest and largest, in sides of a final image
_LEAVES = 900


def _cloudy(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """1/f noise [side, side, 3]: strong in lightness, weaker in colour."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    f[0, 0] = np.inf  # no mean: it is drawn below
    spectrum = np.fft.rfft2(rng.standard_normal((3, side, side))) / f
    fields = np.fft.irfft2(spectrum, s=(side, side))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    light, first, second = fields
    # two colour axes, red against green and green against blue, weaker than lightness as in natural scenes
    colour = np.stack([light + 0.5 * first, light - 0.25 * first + 0.35 * second, light - 0.5 * second], axis=-1)
    mean = rng.uniform(0.3, 0.7) + rng.uniform(-0.1, 0.1, 3)
    return (mean + rng.uniform(0.1, 0.2) * colour).astype(np.float32)


def _leafy(rng: np.random.Generator, side: int, image: int) -> NDArray[np.float32]:
    """Discs of one colour each, the later ones in front; radii with density r^-3."""
    smallest, largest = (r * image for r in _RADII)
    # inverse of the distribution function of the density r^-3 from ``smallest`` on
    radii = np.minimum(smallest / np.sqrt(1 - rng.random(_LEAVES)), largest)
    centres = rng.uniform(0, side, (_LEAVES, 2))
    colours = rng.uniform(0.3, 0.7) + rng.uniform(-0.1, 0.1, 3) + rng.normal(0, 0.13, (_LEAVES, 1))
    colours = colours + rng.normal(0, 0.07, (_LEAVES, 3))
    canvas = np.broadcast_to(colours.mean(axis=0), (side, side, 3)).astype(np.float32)
    for (x, y), radius, colour in zip(centres, radii, colours.astype(np.float32), strict=True):
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        rows = np.arange(top, min(side, int(y + radius) + 2))
        columns = np.arange(left, min(side, int(x + radius) + 2))
        inside = (rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2 < radius * radius
        canvas[top : top + len(rows), left : left + len(columns)][inside] = colour
    return canvas


@lru_cache(maxsize=2)
def canvases(recipe: Recipe, part: str) -> NDArray[np.uint8]:
    """Canvases [2, n, side, side, 3] of both kinds, in the order of `BACKGROUNDS`; ``part``: train or held_out."""
    image = recipe.size * 2
    side = CANVAS_FACTOR * image
    # larger images have larger canvases, and fewer, so that memory stays the same
    count = max(2, round(COUNT[part] * (32 / recipe.size) ** 2)) if recipe.size > 32 else COUNT[part]
    made = [
        [_cloudy(recipe.generator(CANVASES[part], 0, k), side) for k in range(count)],
        [_leafy(recipe.generator(CANVASES[part], 1, k), side, image) for k in range(count)],
    ]
    pixels: NDArray[np.uint8] = np.round(255 * np.clip(np.array(made), 0, 1)).astype(np.uint8)
    return pixels
