# SPDX-License-Identifier: Apache-2.0
"""Pixel measures of re-made pairs, kept in a table beside the photographs so that no run has to make the images."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.perception import psnr
from clip_align.perception.observers import (
    EQUAL_DB,
    LEVEL_ALONE,
    ConditionAlone,
    Measured,
    Observer,
    psnr_luminance,
    ssim,
)

__all__ = ["MEASURES", "measure", "observers", "read", "write"]

MEASURES = ("psnr_rgb", "psnr_luminance", "ssim")
COLUMNS = ("ref", "type", "level", *MEASURES)
Name = tuple[int, int, int]  # photograph, type, level


def measure(clean: NDArray[np.uint8], made: NDArray[np.uint8]) -> tuple[float, float, float]:
    """PSNR over RGB, PSNR of luminance (dB, at most ``EQUAL_DB``), SSIM of two images."""
    of_colors, of_luminance = psnr.psnr(clean, made), psnr_luminance(clean, made)
    return min(EQUAL_DB, of_colors), min(EQUAL_DB, of_luminance), ssim(clean, made)


def read(path: Path, names: Sequence[Name], made_by: str) -> dict[str, NDArray[np.float64]]:
    """The measures in a table by name, float64 [P]; larger = more alike.

    Args:
        path: of the table.
        names: of the pairs, in their order.
        made_by: command that writes the table, for the error message.

    ValueError where its rows are those of other pairs.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if [(int(r["ref"]), int(r["type"]), int(r["level"])) for r in rows] != list(names):
        raise ValueError(f"{path}: its rows are not the {len(names)} pairs; make it: {made_by}")
    return {name: np.array([float(row[name]) for row in rows]) for name in MEASURES}


def write(path: Path, names: Sequence[Name], measured: Callable[[int, int, int], tuple[float, float, float]]) -> None:
    """Measure all pairs on all cores and write the table.

    Args:
        path: of the table.
        names: of the pairs.
        measured: measures of a pair by its name; a function of a module, for other processes.
    """
    with multiprocessing.Pool() as pool:
        values = pool.starmap(measured, names, chunksize=80)
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for name, (rgb, luma, similarity) in zip(names, values, strict=True):
            lines.writerow([*name, f"{rgb:.4f}", f"{luma:.4f}", f"{similarity:.6f}"])


def observers(table: Mapping[str, NDArray[np.float64]]) -> dict[str, Observer]:
    """The observers of the baselines by their labels: by level or type alone, and by the measures of a table."""
    return {
        "level alone": LEVEL_ALONE,
        "type alone": ConditionAlone(("type",)),
        "PSNR (RGB)": Measured(table["psnr_rgb"], similarity=True),
        "PSNR (luminance)": Measured(table["psnr_luminance"], similarity=True),
        "SSIM": Measured(table["ssim"], similarity=True),
    }
