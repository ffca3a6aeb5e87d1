# SPDX-License-Identifier: Apache-2.0
"""Maps without a model against OSIE's fixations.

Expected numbers are of a small copy, 60 of the 700 photographs at half their size with a csv of their fixations, as
computed by other code. With the authors' own download the same rows are printed, and only images are known.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import Problem, UserError
from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics import saliency
from clip_align.perception.fixations import FixatedImage, fixated_image, osie

SMALL, AUTHORS = ("fixations.csv", "stimuli"), ("data/eye/fixations.mat", "data/stimuli")
SIGMA_PX = 12.0  # of the small copy; the authors' images are twice as large
COLUMNS = ("image", "viewer", "x", "y")
IMAGES, FIXATIONS, ALL_IMAGES = 60, 8438, 700
# means over the small copy's images, by map and measure
TABLE: Mapping[str, Mapping[str, float]] = {
    "centre Gaussian": {"NSS": 0.7830, "CC": 0.2799, "AUC-Judd": 0.7223, "SIM": 0.3561, "KL": 1.3709},
    "uniform": {"AUC-Judd": 0.5, "SIM": 0.2875, "KL": 1.6664},
    "first viewer's map": {"NSS": 2.5578},
}
DIGITS = 1e-4


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """OSIE: maps without a model against people's fixations."""
    small, authors = (all((root / part).exists() for part in layout) for layout in (SMALL, AUTHORS))
    if not small and not authors:
        what = f"{root} holds neither {' and '.join(AUTHORS)} (the authors' download) nor {' and '.join(SMALL)}"
        raise UserError(Problem("root", what))
    images = _small(root) if small else osie(root, "saliency/osie")
    yield count("images", len(images), IMAGES if small else ALL_IMAGES)
    fixations = sum(len(image.x) for image in images)
    yield KnownAnswer("fixations", fixations, FIXATIONS if small else None)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for image in images:
        for cell, value in _measures(image, SIGMA_PX if small else 2 * SIGMA_PX).items():
            found[cell].append(value)
    for (name, measure), values in found.items():
        expected = TABLE[name].get(measure) if small else None
        yield KnownAnswer(f"{name}: {measure}", float(np.mean(values)), expected, DIGITS)


def _measures(image: FixatedImage, sigma_px: float) -> dict[tuple[str, str], float]:
    """By map and measure, of one image; what is undefined is not in it."""
    size = image.height, image.width
    first = image.viewer == image.viewer[0] if len(image.viewer) else np.zeros(0, np.bool_)
    every, one, rest = (_counts(image, of) for of in (np.ones_like(first), first, ~first))
    density = saliency.fixation_density(every, sigma_px, "zero")
    found: dict[tuple[str, str], float] = {}
    for name, map_ in {"centre Gaussian": saliency.centre_gaussian(*size), "uniform": np.ones(size)}.items():
        found[name, "NSS"] = saliency.nss(map_, every)
        found[name, "CC"] = saliency.cc(map_, density)
        found[name, "AUC-Judd"] = saliency.auc_judd(map_, every, "mit")
        found[name, "SIM"] = saliency.sim(map_, density)
        found[name, "KL"] = saliency.kl(map_, density)
    name, map_ = "first viewer's map", saliency.fixation_density(one, sigma_px, "zero")
    found[name, "NSS"] = saliency.nss(map_, rest)
    found[name, "AUC-Judd"] = saliency.auc_judd(map_, rest, "mit")
    return {cell: value for cell, value in found.items() if math.isfinite(value)}


def _counts(image: FixatedImage, of: NDArray[np.bool_]) -> NDArray[np.float64]:
    return saliency.fixation_counts(image.x[of], image.y[of], image.height, image.width)


def _small(root: Path) -> list[FixatedImage]:
    """The images of ``fixations.csv``; UserError for a row or an image that cannot be read."""
    path = root / SMALL[0]
    by_image: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if lacking:
                raise UserError(Problem("root", f"{path} has no column {', '.join(lacking)}"))
            for row in rows:
                try:
                    by_image[row["image"]].append((row["viewer"], float(row["x"]), float(row["y"])))
                except (TypeError, ValueError):
                    what = f"{path}, line {rows.line_num}: x {row['x']!r}, y {row['y']!r}; valid are two numbers"
                    raise UserError(Problem("root", what)) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(Problem("root", f"cannot read {path}: {error}")) from error
    if not by_image:
        raise UserError(Problem("root", f"{path} has no fixations"))
    found = []
    for name, of in by_image.items():
        viewers, x, y = zip(*of, strict=True)
        found.append(fixated_image(root / SMALL[1] / name, viewers, [x, y], "saliency/osie", "root"))
    return found
