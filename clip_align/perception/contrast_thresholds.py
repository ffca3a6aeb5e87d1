# SPDX-License-Identifier: Apache-2.0
"""Human contrast thresholds of gratings: the 14 Gabors of ModelFest and the 40 of ColorFest (data/README.md).

Sensitivity is 1 / threshold. The contrast of ModelFest is the peak luminance contrast of the Gabor, that of ColorFest
the root mean square of its three cone contrasts: the two sets have no common scale.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.photographs import DATA

__all__ = [
    "COLORFEST",
    "COLORFEST_STEP",
    "MODELFEST",
    "MODELFEST_STEP",
    "Gratings",
    "colorfest",
    "modelfest",
    "sensitivities",
    "with_ties",
]

Array = NDArray[np.float64]
MODELFEST, COLORFEST = "modelfest", "colorfest"  # names of the sets, and beginnings of the gratings' ids
# log10 units. Ten of ModelFest's gratings have one size, and are equal to a pixel metric: without rounding, errors of
# floats would order them. A step of .1 dB breaks no difference that people have.
MODELFEST_STEP, COLORFEST_STEP = 0.005, 0.001


@dataclass(frozen=True, eq=False)
class Gratings:
    """A set of N Gabors with the sensitivities of O observers.

    ids: ``modelfest_01``. frequency: cycles/degree [N]. sigma: of the Gaussian, degrees [N]. direction: of the color
    [N], ``achromatic``, ``red_green``, ``tritan``, or ``intermediate_…``. observers: log10 sensitivity [N, O], NaN
    where an observer was not tested. background, cones: LMS of the field and change of LMS at unit RMS cone contrast,
    [N, 3]; empty in ModelFest, which is given in luminance.
    """

    ids: tuple[str, ...]
    frequency: Array
    sigma: Array
    direction: NDArray[np.str_]
    observers: Array
    background: Array
    cones: Array

    @property
    def human(self) -> Array:
        """Mean log10 sensitivity [N] of the observers tested."""
        return np.asarray(np.nanmean(self.observers, axis=1))

    def __len__(self) -> int:
        return len(self.ids)


def sensitivities(ids: Sequence[str]) -> Array:
    """log10 sensitivities [N, O] of the observers for gratings of one set, by their ids."""
    of = modelfest() if ids and ids[0].startswith(MODELFEST) else colorfest()
    row = {name: number for number, name in enumerate(of.ids)}
    return of.observers[[row[name] for name in ids]]


@lru_cache(maxsize=1)
def modelfest() -> Gratings:
    """14 horizontal achromatic Gabors; 16 observers, the mean of four thresholds each."""
    rows, trials = _rows("modelfest_gabors"), _rows("modelfest_gabors_individual")
    names = sorted({row["observer"] for row in trials})
    observers = np.full((len(rows), len(names)), np.nan)
    for row in trials:
        repeats = [float(row[f"log10_sensitivity_{repeat}"]) for repeat in (1, 2, 3, 4)]
        observers[int(row["stim_id"]) - 1, names.index(row["observer"])] = np.mean(repeats)
    none = np.zeros((0, 3))
    return Gratings(
        tuple(f"{MODELFEST}_{int(row['stim_id']):02d}" for row in rows),
        _numbers(rows, "frequency_cpd"),
        _numbers(rows, "sigma_deg"),
        np.array(["achromatic"] * len(rows)),
        observers,
        none,
        none,
    )


@lru_cache(maxsize=1)
def colorfest() -> Gratings:
    """40 Gabors in seven directions of color space; three observers, two thresholds short."""
    rows, trials = _rows("colorfest"), _rows("colorfest_individual")
    names = sorted({row["observer"] for row in trials})
    place = {(row["direction_id"], float(row["frequency_cpd"])): number for number, row in enumerate(rows)}
    observers = np.full((len(rows), len(names)), np.nan)
    for row in trials:
        number = place[row["col_dir_id"], float(row["s_frequency"])]
        observers[number, names.index(row["observer"])] = -float(row["log_cone_contrast"])
    background, direction = (
        np.stack([_numbers(rows, f"{kind}_{cone}") for cone in "LMS"], axis=1) for kind in ("bg", "dir")
    )
    # the table's directions are unit vectors of absolute LMS
    contrast = np.sqrt(np.mean((direction / background) ** 2, axis=1, keepdims=True))
    frequency = _numbers(rows, "frequency_cpd")
    return Gratings(
        tuple(f"{COLORFEST}_{row['direction']}_{f:g}" for row, f in zip(rows, frequency, strict=True)),
        frequency,
        _numbers(rows, "sigma_deg"),
        np.array([row["direction"] for row in rows]),
        observers,
        background,
        direction / contrast,
    )


def with_ties(log_sensitivity: Array, step: float) -> Array:
    """A model's log10 sensitivities [N], rounded to ``step``: what differs by less is tied."""
    return np.asarray(np.round(log_sensitivity / step) * step)


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _numbers(rows: Sequence[dict[str, str]], name: str) -> Array:
    return np.array([float(row[name]) for row in rows])
