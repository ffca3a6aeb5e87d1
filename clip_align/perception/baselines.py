# SPDX-License-Identifier: Apache-2.0
"""Scores without a model: PSNR, SSIM, the distortion's level or type alone, and ceilings from human data.

``python -m clip_align.perception.baselines [file]`` makes all re-made images and writes the table
``data/tid2013_remade_baselines.csv`` (half a minute on two cores). Scores are computed from that table and the
embedded opinions at each call: no baseline is a literal. The ceilings are literals, and tests recompute them.
"""

from __future__ import annotations

import csv
import multiprocessing
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clip_align.metrics.correlation import srocc, within_level_srocc
from clip_align.perception import photographs, psnr
from clip_align.perception.luminance import luminance
from clip_align.perception.tid2013_remade import Pairs, image, pairs

TABLE = photographs.DATA / "tid2013_remade_baselines.csv"
MEASURES = ("psnr_rgb", "psnr_luminance", "ssim")
COLUMNS = ("ref", "type", "level", *MEASURES)

# Of the original stimuli, srocc and within_level_srocc over 24 references and 16 types (11 for the replication).
# Rating noise: opinions plus Gaussian noise of their standard error against the opinions. Replication: TID2008's
# opinions of the same images (level k there is k + 1 here). Content-blind: mean opinion of the condition over the
# other references. All three are recomputed from the databases' score files in tests.
CEILINGS = {
    "rating noise": (0.992, 0.977),
    "replication (TID2008)": (0.978, 0.953),
    "content-blind": (0.930, 0.785),
}

# What trained CLIPs reach on TID2013's own images of the same 16 types (24 references, native size), srocc and
# within_level_srocc (None: undefined), of the published distances of ZS-IQA; recomputed from them in tests.
TRAINED_CLIPS: dict[str, tuple[float, float | None]] = {
    "CLIP ViT-B/32, all blocks": (0.824, 0.605),
    "CLIP ViT-B/32, projection": (0.719, 0.522),
    "CLIP RN50, all blocks": (0.745, 0.545),
    "CLIP RN50, projection": (0.699, 0.501),
    "level alone": (0.744, None),
}
TRAINED_CLIPS_SOURCE = (
    "TID2013's own images of these 16 types, from the distances published with ZS-IQA (ICASSP 2025, arXiv 2409.07650)"
)


def psnr_luminance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR in dB of the luminances (full-range BT.601, not rounded) of two images; infinite if equal."""
    error = np.square(luminance(a) - luminance(b), dtype=np.float64)
    return psnr.from_mean_square(float(error.mean()))


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Structural similarity of the luminances of two images, -1 to 1, 1 = equal.

    Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612: Gaussian window of 1.5 px (11 x 11), K .01 and .03,
    population variances, mean over the places where the window fits; no down-sampling. In float32 about mid-grey.
    """
    x, y = luminance(a) - np.float32(128), luminance(b) - np.float32(128)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x * mean_x, _smooth(y * y) - mean_y * mean_y
    cov = _smooth(x * y) - mean_x * mean_y
    # about mid-grey the variances lose no digits of float32 to the mean; the means themselves need it back
    mean_x += np.float32(128)
    mean_y += np.float32(128)
    c1, c2 = np.float32((0.01 * psnr.PEAK) ** 2), np.float32((0.03 * psnr.PEAK) ** 2)
    numerator = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    quality = numerator / ((mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2))
    return float(quality.mean(dtype=np.float64))


def measure(number: int, type: int, level: int) -> tuple[float, float, float]:
    """PSNR over RGB, PSNR of luminance (dB), SSIM of one re-made image against its photograph.

    Args:
        number: of the photograph, 1 to 24.
        type: TID2013's number of the distortion.
        level: 1 (mild) to 5 (strong).
    """
    clean, made = image(number), image(number, type, level)
    return psnr.psnr(clean, made), psnr_luminance(clean, made), ssim(clean, made)


@lru_cache(maxsize=1)
def table() -> dict[str, NDArray[np.float64]]:
    """The embedded measures by name, float64 [1920], in the order of ``pairs()``; larger = more alike."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    of = pairs()
    if [(int(r["ref"]), int(r["type"]), int(r["level"])) for r in rows] != _named(of):
        raise ValueError(
            f"{TABLE}: its rows are not the {len(of)} pairs; make it: python -m clip_align.perception.baselines"
        )
    return {name: np.array([float(row[name]) for row in rows]) for name in MEASURES}


@lru_cache(maxsize=1)
def baselines() -> dict[str, tuple[float, float]]:
    """srocc and within_level_srocc of observers without a model, NaN where undefined (level alone, within)."""
    of = pairs()
    measured = table()
    observers = {
        "level alone": -of.level.astype(np.float64),
        "type alone": others_mean(of, of.type),
        "PSNR (RGB)": measured["psnr_rgb"],
        "PSNR (luminance)": measured["psnr_luminance"],
        "SSIM": measured["ssim"],
    }
    return {
        name: (srocc(values, of.opinion), within_level_srocc(values, of.opinion, of.level))
        for name, values in observers.items()
    }


def others_mean(of: Pairs, condition: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean opinion of the same condition over the other references, per pair [N]; condition: labels [N]."""
    labels = np.unique(condition, return_inverse=True)[1]
    sums, counts = np.bincount(labels, weights=of.opinion), np.bincount(labels)
    # leave out all pairs of the same reference and condition, e.g. the five levels of a type
    own = labels * (int(of.reference.max()) + 1) + of.reference
    own_sums, own_counts = np.bincount(own, weights=of.opinion), np.bincount(own)
    return np.asarray((sums[labels] - own_sums[own]) / (counts[labels] - own_counts[own]))


def main(target: Path) -> None:
    """Measure all pairs on all cores and write the table."""
    of = _named(pairs())
    with multiprocessing.Pool() as pool:
        measured = pool.starmap(measure, of, chunksize=80)
    with target.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row, (rgb, luma, similarity) in zip(of, measured, strict=True):
            lines.writerow([*row, f"{rgb:.4f}", f"{luma:.4f}", f"{similarity:.6f}"])


def _named(of: Pairs) -> list[tuple[int, int, int]]:
    return [(int(r), int(t), int(level)) for r, t, level in zip(of.reference, of.type, of.level, strict=True)]


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    radius = 5  # 3.5 sigma
    return np.asarray(ndimage.gaussian_filter(plane, 1.5, radius=radius)[radius:-radius, radius:-radius])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
