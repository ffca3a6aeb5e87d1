# SPDX-License-Identifier: Apache-2.0
"""The sixteen shapes, as tables of signed distance: negative inside, in units of the shape's half-width.

Coordinates: x to the right, y downwards, every shape within -1 … 1. A table covers -EXTENT … EXTENT; one look-up
per pixel then gives any pose of any shape, with soft edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]  # one value a table cell
EXTENT = 1.5
CELLS = 256  # along an axis: about 85 a unit

_axis = (np.arange(CELLS) + 0.5) / CELLS * 2 * EXTENT - EXTENT
_X, _Y = np.meshgrid(_axis, _axis)


def _circle(radius: float, x: float = 0.0, y: float = 0.0) -> Field:
    return np.hypot(_X - x, _Y - y) - radius


def _polygon(points: Sequence[tuple[float, float]]) -> Field:
    """Signed distance to a closed polygon: the nearest edge, inside by the even-odd rule."""
    nearest = np.full_like(_X, np.inf)
    inside = np.zeros(_X.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((_X - ax) * ex + (_Y - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, (_X - ax - along * ex) ** 2 + (_Y - ay - along * ey) ** 2)
        if ey != 0.0:  # a horizontal edge crosses no horizontal ray
            crossed = (ay > _Y) != (by > _Y)
            inside ^= crossed & (ax + (_Y - ay) / ey * ex > _X)
    return np.where(inside, -1.0, 1.0) * np.sqrt(nearest)


def _box(x0: float, y0: float, x1: float, y1: float) -> Field:
    return _polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _union(*parts: Field) -> Field:
    nearest: Field = np.minimum.reduce(parts)  # exact at the outline; inside, distances may be too small
    return nearest


def _without(whole: Field, *parts: Field) -> Field:
    farthest: Field = np.maximum.reduce([whole, *(-part for part in parts)])
    return farthest


def _around(radius: Callable[[Field], Field], corners: int) -> Field:
    """Polygon through ``radius(angle)``, the angle counted from straight up."""
    angle = np.arange(corners) / corners * 2 * np.pi
    r = radius(angle)
    return _polygon(list(zip((r * np.sin(angle)).tolist(), (-r * np.cos(angle)).tolist(), strict=True)))


def _heart() -> Field:
    t = np.arange(48) / 48 * 2 * np.pi
    x = 16 * np.sin(t) ** 3  # the well-known heart curve, scaled below to -1 … 1
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _polygon(list(zip((x / 17).tolist(), ((-y - 2.5) / 15.5).tolist(), strict=True)))


def _tree() -> Field:
    crown = [(0.0, -1.0), (0.5, -0.35), (0.28, -0.35), (0.72, 0.2), (0.42, 0.2), (0.88, 0.68)]
    return _union(_polygon([*crown, *((-x, y) for x, y in reversed(crown[1:]))]), _box(-0.18, 0.6, 0.18, 1.0))


def _key() -> Field:
    bow = _without(_circle(0.42, 0.0, -0.55), _circle(0.17, 0.0, -0.6))
    return _union(bow, _box(-0.13, -0.3, 0.13, 1.0), _box(0.1, 0.3, 0.48, 0.52), _box(0.1, 0.72, 0.55, 0.96))


_BOLT = [(0.3, -1.0), (-0.55, 0.12), (-0.05, 0.12), (-0.35, 1.0), (0.55, -0.22), (0.05, -0.22)]
_ARROW = [(1.0, 0.0), (0.2, -0.78), (0.2, -0.3), (-0.95, -0.3), (-0.95, 0.3), (0.2, 0.3), (0.2, 0.78)]
_HOUSE = [(0.0, -0.95), (0.95, -0.1), (0.72, -0.1), (0.72, 0.85), (-0.72, 0.85), (-0.72, -0.1), (-0.95, -0.1)]
_BOTTLE = [(-0.17, -1.0), (0.17, -1.0), (0.17, -0.45), (0.48, -0.1), (0.48, 1.0), (-0.48, 1.0), (-0.48, -0.1)]

_MAKERS: dict[str, Callable[[], Field]] = {
    "disc": lambda: _circle(0.85),
    "square": lambda: _box(-0.77, -0.77, 0.77, 0.77),
    "triangle": lambda: _polygon([(0.0, -0.95), (0.95, 0.75), (-0.95, 0.75)]),
    "star": lambda: _around(lambda a: np.where(np.round(a * 5 / np.pi) % 2 == 0, 1.0, 0.42), 10),
    "cross": lambda: _union(_box(-0.3, -0.95, 0.3, 0.95), _box(-0.95, -0.3, 0.95, 0.3)),
    "ring": lambda: np.abs(_circle(0.66)) - 0.25,
    "heart": _heart,
    "crescent": lambda: _without(_circle(0.92), _circle(0.74, 0.45, -0.12)),
    "arrow": lambda: _polygon(_ARROW),
    "house": lambda: _union(_polygon(_HOUSE), _box(0.36, -0.95, 0.6, -0.3)),
    "bolt": lambda: _polygon(_BOLT),
    "fish": lambda: _union(
        _around(lambda a: 0.75 * 0.46 / np.hypot(0.46 * np.sin(a), 0.75 * np.cos(a)), 32),
        _polygon([(0.5, 0.0), (1.0, -0.55), (0.88, 0.0), (1.0, 0.55)]),
    ),
    "flower": lambda: _around(lambda a: 0.68 + 0.3 * np.cos(6 * a), 72),
    "tree": _tree,
    "key": _key,
    "bottle": lambda: _polygon([*_BOTTLE, (-0.17, -0.45)]),
}
SHAPES: tuple[str, ...] = tuple(_MAKERS)


@cache
def shape_tables() -> NDArray[np.float32]:
    """Signed distances [16, CELLS, CELLS] (row = y), in half-widths, in the order of `SHAPES`."""
    return np.stack([make() for make in _MAKERS.values()]).astype(np.float32)
