# SPDX-License-Identifier: Apache-2.0
"""Scenes to pixels: background, textured object, something in front, light, sensor noise.

Coordinates x, y run from -1 to 1 over the image, to the right and downwards. Arrays are float32 and hold a block of
images each: one [N, fine, fine] map fits into a core's cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from clip_align.data.world import shapes, textures
from clip_align.data.world.backgrounds import canvases
from clip_align.data.world.colours import JITTER, RGB, set_apart
from clip_align.data.world.recipe import SUPERSAMPLING, Recipe
from clip_align.data.world.scenes import Draws, Numbers, Scenes, pick

Reals = NDArray[np.float32]
TURN = 0.75  # largest rotation of an object, radians
SHEAR, STRETCH = 0.15, 0.15
MARGIN = 0.1  # how far an object may reach beyond the image, in half-widths of the image
CYCLES = (2.7, 3.7)  # periods of a texture per half-width of the image
TEXTURE_TURN = 0.2  # largest rotation of a texture, radians
SHADE = 0.3  # largest change of light from the middle of an object to its edge
COVER = (0.1, 0.6)  # where the occluder begins, in half-widths of the object from its middle
BLOCK = 48  # images rendered together at 32 px: all their maps fit into the cache of a core


def block_size(recipe: Recipe) -> int:
    """How many images are rendered together: a constant of the recipe, so that results do not depend on it."""
    return max(1, BLOCK * 32 * 32 // recipe.size**2)


def render(recipe: Recipe, scenes: Scenes, held_out: bool) -> NDArray[np.uint8]:
    """Images uint8 [N, size, size, 3], sRGB.

    Args:
        recipe: the world's parameters.
        scenes: N scenes; their generators are advanced by the sensor noise, so a scene is rendered once.
        held_out: cut the backgrounds from the canvases of the held-out sets instead of training's.
    """
    fine = recipe.size * SUPERSAMPLING
    available = canvases(recipe, "held_out" if held_out else "train")
    draws = scenes.draws
    # centres of the fine pixels [1, 1, fine]; y is the same along the rows
    x: Reals = ((np.arange(fine, dtype=np.float32) + np.float32(0.5)) / np.float32(fine / 2) - 1)[None, None, :]
    y = x.reshape(1, -1, 1)

    scale = _between(draws["scale"], *recipe.scale)  # [N], half-widths of the objects in half-widths of the image
    u, v = _object_coordinates(scenes, scale, x, y)
    canvas = _crops(available, scenes.background, draws, "", fine)  # [N, fine, fine, 3]
    fraction = _texture_fraction(scenes, x, y)[..., None]
    first, second = _colours(scenes)  # [N, 1, 1, 3]
    colour = second + fraction * (first - second)
    colour *= _shade(draws, u, v)[..., None]
    alpha = _coverage(_distance(scenes.shape, u, v), scale, fine)
    canvas += alpha[..., None] * (colour - canvas)  # in place: the largest array of a block
    _cover(canvas, scenes, available, u, v, scale)
    return _develop(recipe, canvas, scenes)


def _between(draws: Draws, low: float, high: float) -> Reals:
    return (low + draws * (high - low)).astype(np.float32)


def _column(values: Draws | Reals) -> Reals:
    return values.astype(np.float32).reshape(-1, 1, 1)


def _object_coordinates(scenes: Scenes, scale: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals]:
    """Where each fine pixel lies in its object's own coordinates: u to the right, v downwards, [N, fine, fine]."""
    draws = scenes.draws
    # how far the object's middle may move: large objects stay near the centre
    room = np.maximum(0.0, 1 + MARGIN - scale)
    dx = x - _column(room * _between(draws["x"], -1, 1))
    dy = y - _column(room * _between(draws["y"], -1, 1))
    turn, stretch = _between(draws["turn"], -TURN, TURN), _between(draws["aspect"], 1 - STRETCH, 1 + STRETCH)
    cosine, sine = np.cos(turn) / scale, np.sin(turn) / scale
    # the inverse of the object's pose, so that each pixel looks up its place in the shape's table
    mirror = np.where(draws["mirror"] < 0.5, -1, 1) / stretch
    u = _column(mirror * cosine) * dx + _column(mirror * sine) * dy
    v = _column(-sine * stretch) * dx + _column(cosine * stretch) * dy
    u += _column(_between(draws["shear"], -SHEAR, SHEAR)) * v
    return u, v


def _texture_fraction(scenes: Scenes, x: Reals, y: Reals) -> Reals:
    """Fraction of the first colour at each fine pixel, 0 … 1.

    The scale and orientation of a texture do not depend on the size and pose of its object. So texture is the cue that
    is learned first, and carries no information on the pose.
    """
    draws, cells = scenes.draws, textures.CELLS
    turn = _between(draws["texture_turn"], -TEXTURE_TURN, TEXTURE_TURN)
    cycles = _between(draws["cycles"], *CYCLES) * (cells / textures.PERIODS)  # table cells per half-width of the image
    cosine, sine = _column(np.cos(turn) * cycles), _column(np.sin(turn) * cycles)
    p = cosine * x + sine * y + _column(draws["texture_x"] * cells)
    q = cosine * y - sine * x + _column(draws["texture_y"] * cells)
    # the table is periodic and its side a power of two: & is the remainder, also of negative numbers
    cell = (np.floor(q).astype(np.int32) & (cells - 1)) * cells + (np.floor(p).astype(np.int32) & (cells - 1))
    cell += (scenes.texture * cells**2).astype(np.int32).reshape(-1, 1, 1)
    return textures.texture_tables().ravel()[cell] * np.float32(1 / 255)


def _distance(shape: Numbers, u: Reals, v: Reals) -> Reals:
    """Signed distance to the outline, in half-widths of the object."""
    cells, per_unit = shapes.CELLS, shapes.CELLS / (2 * shapes.EXTENT)
    column = np.clip((u + shapes.EXTENT) * np.float32(per_unit), 0, cells - 1).astype(np.int32)
    row = np.clip((v + shapes.EXTENT) * np.float32(per_unit), 0, cells - 1).astype(np.int32)
    # beyond the table the nearest cell: far outside every shape, so only the sign matters
    table = (shape * cells**2).astype(np.int32).reshape(-1, 1, 1)
    distance: Reals = shapes.shape_tables().ravel()[row * cells + column + table]
    return distance


def _coverage(distance: Reals, scale: Reals, fine: int) -> Reals:
    """Fraction of a fine pixel that lies inside: an edge is one fine pixel wide."""
    covered: Reals = np.clip(0.5 - distance * _column(scale * (fine / 2)), 0, 1)
    return covered


def _colours(scenes: Scenes) -> tuple[Reals, Reals]:
    """The two colours of each object [N, 1, 1, 3]."""

    def jittered(number: Numbers, suffix: str) -> Reals:
        draws = np.stack([scenes.draws[channel + suffix] for channel in ("red", "green", "blue")], axis=-1)
        colour: Reals = np.clip(RGB[number] + _between(draws, -JITTER, JITTER), 0, 1)
        return colour

    first = jittered(scenes.first, "")
    second = set_apart(first, jittered(scenes.second, "2"))
    return first.reshape(-1, 1, 1, 3), second.reshape(-1, 1, 1, 3)


def _shade(draws: Mapping[str, Draws], u: Reals, v: Reals) -> Reals:
    """Light falling from one side, around 1."""
    turn, strength = 2 * np.pi * draws["shade_turn"], SHADE * draws["shade"]
    return 1 + _column(np.cos(turn) * strength) * u + _column(np.sin(turn) * strength) * v


def _crops(available: NDArray[np.uint8], kind: Numbers, draws: Mapping[str, Draws], prefix: str, fine: int) -> Reals:
    """A square of a canvas for each scene [N, fine, fine, 3] in [0, 1], turned and mirrored one of eight ways."""
    _, count, side, _, _ = available.shape
    number, flips = pick(draws[prefix + "canvas"], count), pick(draws[prefix + "flips"], 8)
    left, top = (pick(draws[prefix + name], side - fine + 1) for name in ("left", "top"))
    crops = np.empty((len(kind), fine, fine, 3), dtype=np.uint8)
    for crop, k, n, x, y, flip in zip(crops, kind, number, left, top, flips, strict=True):
        square = available[k, n, y : y + fine, x : x + fine]
        square = square.swapaxes(0, 1) if flip & 4 else square
        # transposed or not, each axis reversed or not: the eight symmetries of a square
        crop[:] = square[:: -1 if flip & 2 else 1, :: -1 if flip & 1 else 1]
    return crops * np.float32(1 / 255)


def _cover(canvas: Reals, scenes: Scenes, available: NDArray[np.uint8], u: Reals, v: Reals, scale: Reals) -> None:
    """Lay another piece of background over one side of the occluded objects, in place."""
    rows = np.flatnonzero(scenes.occluded)
    if not len(rows):
        return
    fine = canvas.shape[1]
    draws = {name: values[rows] for name, values in scenes.draws.items()}
    turn = 2 * np.pi * draws["cover_turn"]
    depth = _column(_between(draws["cover_depth"], *COVER))
    beyond = depth - _column(np.cos(turn)) * u[rows] - _column(np.sin(turn)) * v[rows]
    alpha = _coverage(beyond, scale[rows], fine)[..., None]
    front = _crops(available, pick(draws["cover_kind"], len(available)), draws, "cover_", fine)
    canvas[rows] += alpha * (front - canvas[rows])


def _develop(recipe: Recipe, canvas: Reals, scenes: Scenes) -> NDArray[np.uint8]:
    """Average the fine pixels, apply contrast, brightness and sensor noise, round."""
    k = SUPERSAMPLING
    rows = reduce(np.add, [canvas[:, i::k] for i in range(k)])  # ten times faster than a sum over two axes
    pixels: Reals = reduce(np.add, [rows[:, :, i::k] for i in range(k)]) * np.float32(1 / k**2)
    contrast = _between(scenes.draws["contrast"], 0.65, 1).reshape(-1, 1, 1, 1)
    brightness = _between(scenes.draws["brightness"], -0.1, 0.1).reshape(-1, 1, 1, 1)
    pixels = 0.5 + brightness + contrast * (pixels - 0.5)
    sigma = _between(scenes.draws["noise"], 0, recipe.sensor_noise)
    # each image from its own generator, so that it does not depend on its block
    for image, s, generator in zip(pixels, sigma, scenes.generators, strict=True):
        image += s * generator.standard_normal(image.shape, dtype=np.float32)
    return np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
