# SPDX-License-Identifier: Apache-2.0
"""Scores without a model: PSNR, SSIM, the distortion's level or type alone, and ceilings from human data.

``python -m clip_align.perception.baselines [file]`` makes all re-made images and writes the table
``data/tid2013_remade_baselines.csv`` (half a minute on two cores). Scores are computed from that table and the
embedded opinions at each call: no baseline is a literal. The ceilings are literals, and tests recompute them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.metrics.correlation import srocc, within_level_srocc
from clip_align.perception import photographs, pixel_measures
from clip_align.perception.observers import Labels, Observer, PairSet
from clip_align.perception.tid2013_remade import Pairs, image, pairs

TABLE = photographs.DATA / "tid2013_remade_baselines.csv"

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


def measure(number: int, type: int, level: int) -> tuple[float, float, float]:
    """PSNR over RGB, PSNR of luminance (dB), SSIM of one re-made image against its photograph.

    Args:
        number: of the photograph, 1 to 24.
        type: TID2013's number of the distortion.
        level: 1 (mild) to 5 (strong).
    """
    return pixel_measures.measure(image(number), image(number, type, level))


@lru_cache(maxsize=1)
def table() -> dict[str, NDArray[np.float64]]:
    """The embedded measures by name, float64 [1920], in the order of ``pairs()``; larger = more alike."""
    return pixel_measures.read(TABLE, _named(pairs()), "python -m clip_align.perception.baselines")


@lru_cache(maxsize=1)
def baselines() -> dict[str, tuple[float, float]]:
    """srocc and within_level_srocc of observers without a model, NaN where undefined (level alone, within)."""
    of = pairs()
    judged = {name: -observer.distances(pair_set()) for name, observer in observers().items()}
    return {
        name: (srocc(values, of.opinion), within_level_srocc(values, of.opinion, of.level))
        for name, values in judged.items()
    }


def observers() -> dict[str, Observer]:
    """The observers of the baselines by name; pixel measures from the table instead of the images."""
    return pixel_measures.observers(table())


def pair_set() -> PairSet:
    """The 1,920 pairs as observers are given them."""
    of = pairs()
    labels = Labels({"reference": of.reference, "type": of.type, "level": of.level}, of.opinion)
    return PairSet(len(of), lambda: ((image(name[0]), image(*name)) for name in _named(of)), lambda: labels)


def main(target: Path) -> None:
    """Measure all pairs on all cores and write the table."""
    pixel_measures.write(target, _named(pairs()), measure)


def _named(of: Pairs) -> list[tuple[int, int, int]]:
    return [(int(r), int(t), int(level)) for r, t, level in zip(of.reference, of.type, of.level, strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE)
