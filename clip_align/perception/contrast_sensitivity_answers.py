# SPDX-License-Identifier: Apache-2.0
"""Pixel measures and formulas on the Gabors of ModelFest and ColorFest, against the observers' thresholds.

The pixel measures' numbers were computed by other code from other images; those of Watson & Ahumada's model and of
castleCSF likewise, with the parameters that were fitted to these very thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics.correlation import krocc, plcc, srocc
from clip_align.perception.castle_csf import achromatic_sensitivity
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.contrast_thresholds import COLORFEST_STEP, MODELFEST_STEP, colorfest, modelfest, with_ties
from clip_align.perception.gabors import below_nyquist, color_gabor, luminance_gabor
from clip_align.perception.observers import Measure
from clip_align.perception.watson_ahumada import WatsonAhumada

Array = NDArray[np.float64]
STATISTICS: Mapping[str, Callable[[Array, Array], float]] = {"PLCC, log-log": plcc, "SROCC": srocc, "KROCC": krocc}
FIELD_DEG = 2.133  # of ModelFest's images
CONTRAST, CONE_CONTRAST = 0.1, 0.05
# PLCC, SROCC, KROCC; by the side in px, of the gratings below its Nyquist frequency
PIXEL_RMSE: Mapping[int, tuple[int, tuple[float, float, float]]] = {
    256: (14, (0.4980, 0.4873, 0.4328)),
    224: (14, (0.4980, 0.4873, 0.4328)),
    128: (13, (0.6817, 0.5906, 0.5241)),
    64: (10, (0.8411, 0.7531, 0.6694)),
}
STANDARD_MODEL = {256: (0.9985, 1.0, 1.0), 224: (0.9986, 1.0, 1.0)}
CASTLE_CSF = (0.9825, 0.9956, 0.9780)
COLORFEST_PIXEL_RMSE = (0.616, 0.315, 0.212)
MEAN_LUMINANCE = 30.0  # of ModelFest, cd/m^2
DIGITS = 1e-4


def known_answers() -> Iterator[KnownAnswer]:
    """Contrast sensitivity: pixel RMSE and formulas on ModelFest and ColorFest."""
    of = modelfest()
    for size, (n, expected) in PIXEL_RMSE.items():
        rows = np.flatnonzero(below_nyquist(of.frequency, size, FIELD_DEG))
        yield count(f"ModelFest, {size} px: gratings below the Nyquist frequency", len(rows), n)
        rmse = _modelfest(ColorDistance(), size, rows)
        yield from _rows(f"ModelFest, {size} px, pixel RMSE", rmse, of.human[rows], expected, DIGITS)
        if size in STANDARD_MODEL:
            model = _modelfest(WatsonAhumada(FIELD_DEG), size, rows)
            name = f"ModelFest, {size} px, Watson-Ahumada"
            yield from _rows(name, model, of.human[rows], STANDARD_MODEL[size], DIGITS)
    formula = np.log10(achromatic_sensitivity(of.frequency, of.sigma, MEAN_LUMINANCE))
    yield from _rows("ModelFest, castleCSF (formula)", formula, of.human, CASTLE_CSF, DIGITS)
    colors = _colorfest(224)
    yield from _rows("ColorFest, 224 px, pixel RMSE", colors, colorfest().human, COLORFEST_PIXEL_RMSE, 5e-4)


def _rows(
    name: str, model: Array, human: Array, expected: tuple[float, float, float], tolerance: float
) -> Iterator[KnownAnswer]:
    for (label, statistic), value in zip(STATISTICS.items(), expected, strict=True):
        yield KnownAnswer(f"{name}: {label}", statistic(model, human), value, tolerance)


def _modelfest(measure: Measure, size: int, rows: NDArray[np.intp]) -> Array:
    of = modelfest()

    def image(row: int, contrast: float) -> NDArray[Any]:
        return luminance_gabor(size, FIELD_DEG, float(of.frequency[row]), float(of.sigma[row]), contrast)

    distance = np.array([measure(image(row, 0), image(row, CONTRAST)) for row in rows.tolist()])
    return with_ties(np.log10(distance / CONTRAST), MODELFEST_STEP)


def _colorfest(size: int) -> Array:
    of, rmse = colorfest(), ColorDistance()

    def image(row: int, contrast: float) -> NDArray[Any]:
        colors = of.background[row].tolist(), of.cones[row].tolist()
        return color_gabor(size, FIELD_DEG, float(of.frequency[row]), float(of.sigma[row]), contrast, *colors)

    distance = np.array([rmse(image(row, 0), image(row, CONE_CONTRAST)) for row in range(len(of))])
    return with_ties(np.log10(distance / CONE_CONTRAST), COLORFEST_STEP)
