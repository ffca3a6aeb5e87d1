# SPDX-License-Identifier: Apache-2.0
"""Scores of observers without a model on the re-made pairs, and pairs measured again."""

from __future__ import annotations

from collections.abc import Iterator

from clip_align.known_answer import KnownAnswer, count
from clip_align.perception.baselines import baselines, measure, table
from clip_align.perception.pixel_measures import MEASURES
from clip_align.perception.tid2013_remade import pairs

# Spearman over the 1,920 pairs, and the mean over the five levels; None: undefined. From another implementation of the
# re-made set, whose pixels differ a little: both agree within .01.
EXPECTED: dict[str, tuple[float, float | None]] = {
    "level alone": (0.744, None),
    "type alone": (0.443, 0.665),
    "PSNR (RGB)": (0.650, -0.196),
    "PSNR (luminance)": (0.563, 0.03),
    "SSIM": (0.633, 0.276),
}
TOLERANCE = 0.01
AGAIN = (0, 77, 455, 999, 1500)  # pairs that are made and measured again: of five photographs and types


def known_answers() -> Iterator[KnownAnswer]:
    """Re-made TID2013 pairs: scores of observers without a model."""
    of = pairs()
    yield count("pairs", len(of), 1920)
    yield count("photographs", len(set(of.reference.tolist())), 24)
    yield count("types of distortion", len(set(of.type.tolist())), 16)
    found = baselines()
    for name, (whole, within) in EXPECTED.items():
        yield KnownAnswer(f"{name}: SROCC", found[name][0], whole, TOLERANCE)
        if within is not None:
            yield KnownAnswer(f"{name}: SROCC within levels", found[name][1], within, TOLERANCE)
    for row in AGAIN:
        number, kind, level = int(of.reference[row]), int(of.type[row]), int(of.level[row])
        # codecs may differ between versions of Pillow by some hundredths of a dB
        for measure_name, value, tolerance in zip(
            MEASURES, measure(number, kind, level), (0.05, 0.05, 0.002), strict=True
        ):
            name = f"{measure_name} of photograph {number}, type {kind}, level {level}, made again"
            yield KnownAnswer(name, value, float(table()[measure_name][row]), tolerance)
