# SPDX-License-Identifier: Apache-2.0
"""MacAdam's 25 ellipses of equally discriminable chromaticities, and the ellipse of a metric of one's own.

MacAdam, Journal of the Optical Society of America 32:247, 1942, observer PGN (data/README.md). Semi-axes are standard
deviations of color matches, in the plane of CIE 1931 x and y.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clip_align.metrics.correlation import srocc
from clip_align.perception.color_spaces import encoded, linear_rgb, xyz_from_chromaticity
from clip_align.perception.photographs import DATA

__all__ = [
    "Ellipses",
    "angle_deg",
    "area_srocc",
    "calculated",
    "centers",
    "displacements",
    "ellipses_of",
    "elongation_srocc",
    "field",
    "inside_srgb",
    "metrics_of",
    "observed",
    "orientation",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ellipses:
    """N ellipses.

    area: in the unit of x times y [N]. angle: of the major axis from the x axis, counter-clockwise, radians [N];
    without a meaning for a circle. elongation: major over minor axis [N].
    """

    area: Array
    angle: Array
    elongation: Array

    def __getitem__(self, rows: NDArray[np.intp]) -> Ellipses:
        return Ellipses(self.area[rows], self.angle[rows], self.elongation[rows])


@lru_cache(maxsize=1)
def _table() -> dict[str, Array]:
    with (DATA / "macadam_1942_ellipses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def centers() -> Array:
    """Chromaticities x, y of the centers [25, 2]."""
    return np.stack([_table()["x0"], _table()["y0"]], axis=1)


def observed() -> Ellipses:
    """The 25 ellipses as observed."""
    return _ellipses("a_e3", "b_e3", "theta_deg")


def calculated() -> Ellipses:
    """The same ellipses as smoothed by calculation in 1945: how far two descriptions of the observer agree."""
    return _ellipses("a_calc_e3", "b_calc_e3", "theta_calc_deg")


def _ellipses(major: str, minor: str, angle: str) -> Ellipses:
    a, b = _table()[major], _table()[minor]
    # the product of the table's decimals: two ellipses have equal areas, which rounding must not tell apart
    area = np.pi * np.round(a * b, 9) * 1e-6
    return Ellipses(area, np.radians(_table()[angle]), a / b)


def displacements(radii: float, directions: int) -> Array:
    """Steps [25, directions, 2] in x and y around each center.

    Args:
        radii: length of a step, in the ellipse's mean radius (the root of the product of its semi-axes).
        directions: number of them, evenly spread.
    """
    mean_radius = np.sqrt(observed().area / np.pi)
    angles = np.arange(directions) * 2 * np.pi / directions
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(radii * mean_radius[:, None, None] * circle)


def field(x: float, y: float, luminance: float) -> NDArray[np.float32]:
    """A uniform field of a chromaticity, a single sRGB pixel float32 [1, 1, 3]; not rounded to 8 bits.

    Args:
        x, y: CIE 1931.
        luminance: Y, relative to white.

    ValueError for a color outside sRGB.
    """
    linear = linear_rgb(xyz_from_chromaticity(x, y, luminance))
    if linear.min() < 0 or linear.max() > 1:
        raise ValueError(f"x = {x:g}, y = {y:g} at Y = {luminance:g} is outside sRGB")
    return encoded(linear).astype(np.float32)[None, None]


def inside_srgb(luminance: float, steps: Array) -> NDArray[np.intp]:
    """Numbers of the ellipses whose center and displaced points sRGB can all show.

    Args:
        luminance: Y, relative to white.
        steps: displacements [25, directions, 2] in x and y.
    """
    around = centers()[:, None] + np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # y may reach 0 for a large step
        linear = linear_rgb(xyz_from_chromaticity(around[..., 0], around[..., 1], luminance))
    return np.flatnonzero(((linear >= 0) & (linear <= 1)).all(axis=(1, 2)))


def metrics_of(distance: Array, steps: Array) -> Array:
    """The quadratic forms G [N, 2, 2] for which distance^2 = step' G step fits best (least squares).

    Args:
        distance: from the centers to the displaced points [N, directions].
        steps: displacements [N, directions, 2].
    """
    dx, dy = steps[..., 0], steps[..., 1]
    # each center's own unit: squares of steps of 1e-3 would be badly scaled
    unit = np.sqrt((steps**2).sum(axis=2).mean(axis=1))[:, None]
    design = np.stack([dx**2, 2 * dx * dy, dy**2], axis=2) / unit[..., None] ** 2
    fit = np.einsum("nkd,nd->nk", np.linalg.pinv(design), distance**2) / unit**2
    return np.asarray(fit[:, [0, 1, 1, 2]].reshape(-1, 2, 2))


def ellipses_of(metrics: Array) -> Ellipses:
    """The ellipses of unit distance of quadratic forms [N, 2, 2]; NaN where a form is not positive definite."""
    defined = np.asarray(np.isfinite(metrics).all(axis=(1, 2)))
    values, vectors = np.linalg.eigh(np.where(defined[:, None, None], metrics, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        small, large = np.where(defined & (values[:, 0] > 0), values.T, np.nan)
    # the distance grows slowest along the major axis: the eigenvector of the smaller eigenvalue
    angle = np.where(np.isfinite(small), np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0]), np.nan)
    return Ellipses(np.pi / np.sqrt(small * large), angle, np.sqrt(large / small))


def area_srocc(model: Ellipses, human: Ellipses) -> float:
    """Rank correlation of the areas."""
    # rounded: areas that are equal must not differ in the last bits of a fit
    return srocc(np.round(np.log10(model.area), 9), human.area)


def elongation_srocc(model: Ellipses, human: Ellipses) -> float:
    """Rank correlation of the elongations."""
    return srocc(model.elongation, human.elongation)


def orientation(model: Ellipses, human: Ellipses) -> float:
    """Mean cosine of twice the angle between the major axes: 1 = parallel, -1 = orthogonal."""
    return float(np.cos(2 * (model.angle - human.angle)).mean())


def angle_deg(model: Ellipses, human: Ellipses) -> float:
    """Mean angle between the major axes, 0 to 90 degrees."""
    apart = (model.angle - human.angle + np.pi / 2) % np.pi - np.pi / 2  # of two axes, at most a right angle
    return float(np.degrees(np.abs(apart)).mean())
