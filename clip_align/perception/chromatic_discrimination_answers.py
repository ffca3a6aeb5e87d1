# SPDX-License-Identifier: Apache-2.0
"""Euclidean distances in color spaces against MacAdam's ellipses, and observers that are right by construction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from clip_align.known_answer import KnownAnswer, count
from clip_align.perception import macadam
from clip_align.perception.color_spaces import SPACES, linear_rgb, xyz_from_chromaticity
from clip_align.perception.macadam import Ellipses

Array = NDArray[np.float64]
LUMINANCE, RADII, DIRECTIONS = 0.1, 3.0, 16
# SROCC of areas, and mean cosine of twice the angle between the axes, over the centers inside sRGB
COLOR_SPACES: Mapping[str, tuple[float, float]] = {
    "sRGB": (0.6909, 0.632),
    "linear RGB": (0.9087, 0.690),
    "XYZ": (0.9087, -0.539),
    "CIELAB": (0.8515, 0.419),
    "CIELUV": (0.8691, 0.705),
    "Oklab": (0.9175, 0.763),
}
DIGITS, COSINE = 1e-4, 2e-3


def known_answers() -> Iterator[KnownAnswer]:
    """Chromatic discrimination: color spaces against MacAdam's ellipses."""
    steps = macadam.displacements(RADII, DIRECTIONS)
    centers = macadam.inside_srgb(LUMINANCE, steps)
    human = macadam.observed()
    yield count("ellipses inside sRGB at a tenth of white's luminance", len(centers), 14)
    calculated = macadam.calculated()
    yield KnownAnswer("calculated in 1945: SROCC of areas", macadam.area_srocc(calculated, human), 0.9935, DIGITS)
    yield KnownAnswer("calculated in 1945: orientation", macadam.orientation(calculated, human), 0.9957, DIGITS)
    for name, (area, cosine) in COLOR_SPACES.items():
        found = _fitted(SPACES[name], steps, centers)
        yield KnownAnswer(f"{name}: SROCC of areas", macadam.area_srocc(found, human[centers]), area, DIGITS)
        yield KnownAnswer(f"{name}: orientation", macadam.orientation(found, human[centers]), cosine, COSINE)
    oracle = macadam.ellipses_of(macadam.metrics_of(_of_ellipses(human, steps), steps))
    yield KnownAnswer("oracle: SROCC of all 25 areas", macadam.area_srocc(oracle, human), 1, 1e-12)
    yield KnownAnswer("oracle: orientation of all 25", macadam.orientation(oracle, human), 1, 1e-9)
    plain = macadam.ellipses_of(macadam.metrics_of(np.linalg.norm(steps, axis=2), steps))
    spread = float(plain.area.max() / plain.area.min() - 1)
    yield KnownAnswer("Euclidean in x and y: relative spread of areas", spread, 0, 1e-6)


def _fitted(space: Callable[[Array], Array], steps: Array, centers: NDArray[np.intp]) -> Ellipses:
    """The ellipses that distances in a color space have around the centers."""
    around = macadam.centers()[:, None] + np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1)
    x, y = np.moveaxis(around[centers], 2, 0)
    points = space(linear_rgb(xyz_from_chromaticity(x, y, LUMINANCE)))
    distance = np.linalg.norm(points[:, 1:] - points[:, :1], axis=2)
    return macadam.ellipses_of(macadam.metrics_of(distance, steps[centers]))


def _of_ellipses(ellipses: Ellipses, steps: Array) -> Array:
    """Distances [N, directions] in units of the ellipses' own semi-axes."""
    mean = np.sqrt(ellipses.area / np.pi)
    axes = mean * np.sqrt(ellipses.elongation), mean / np.sqrt(ellipses.elongation)
    cosine, sine = np.cos(ellipses.angle)[:, None], np.sin(ellipses.angle)[:, None]
    along, across = steps[..., 0] * cosine + steps[..., 1] * sine, steps[..., 1] * cosine - steps[..., 0] * sine
    return np.asarray(np.hypot(along / axes[0][:, None], across / axes[1][:, None]))
