# SPDX-License-Identifier: Apache-2.0
"""castleCSF in color, and metrics that are linear in contrast against the multiples of its thresholds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clip_align.known_answer import KnownAnswer
from clip_align.metrics.correlation import krocc, plcc, srocc
from clip_align.perception.castle_csf import sensitivity
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.contrast_thresholds import colorfest
from clip_align.perception.detection_gratings import GRATINGS, MULTIPLES, OVER_FREQUENCY, sensitivities
from clip_align.perception.displayed_gratings import detection_gabor

Array = NDArray[np.float64]
SIZE, FIELD_DEG = 112, 224 / 60  # px, half the authors'; degrees
LINEAR_RGB = ColorDistance("linear RGB")
DIGITS = 1e-4
# Cai et al. 2025: sensitivities at .5 and 32 cycles/degree in the authors' files
PUBLISHED = {"red_green": (324.05958, 36.74238), "yellow_violet": (43.93231, 3.66461)}
LINEAR = {"frequency": 0.4790, "red_green": 0.5302, "yellow_violet": 0.4855}  # of all 20 frequencies


def known_answers() -> Iterator[KnownAnswer]:
    """Contrast detection: castleCSF in color, and a metric without spatial filter."""
    of = colorfest()
    formula = np.log10(sensitivity(of.frequency, of.sigma, of.background, of.cones))
    for name, statistic, expected in (("PLCC", plcc, 0.9669), ("SROCC", srocc, 0.9454), ("KROCC", krocc, 0.8333)):
        yield KnownAnswer(f"ColorFest, castleCSF (formula): {name}", statistic(formula, of.human), expected, DIGITS)
    for condition, values in PUBLISHED.items():
        for place, value in zip((0, -1), values, strict=True):
            row = OVER_FREQUENCY[[place]]
            found = float(sensitivities(condition, row)[0])
            yield KnownAnswer(f"{condition}, {row[0, 0]:g} c/deg: sensitivity", found, value, 1e-5)
    for condition, value in LINEAR.items():
        distances = np.outer(1 / sensitivities(condition, OVER_FREQUENCY), MULTIPLES).ravel()
        yield KnownAnswer(f"{condition}, distance = contrast: SROCC", _over_multiples(distances), value, DIGITS)
    area = np.array([_rmse(grating) for grating in GRATINGS["area"].tolist()])
    yield KnownAnswer("area, RMSE of linear RGB: SROCC", _over_multiples(area.ravel()), 0.9253, DIGITS)


def _over_multiples(distances: Array) -> float:
    return srocc(distances, np.tile(MULTIPLES, len(distances) // len(MULTIPLES)))


def _rmse(grating: list[float]) -> list[float]:
    """Distances of the grating at all multiples of its threshold from the field."""
    threshold = 1 / float(sensitivities("area", np.array([grating]))[0])
    frequency, sigma, luminance = grating

    def image(contrast: float) -> NDArray[np.float32]:
        return detection_gabor(SIZE, FIELD_DEG, frequency, sigma, luminance, contrast)

    return [LINEAR_RGB(image(0.0), image(threshold * k)) for k in MULTIPLES.tolist()]
