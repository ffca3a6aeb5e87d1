# SPDX-License-Identifier: Apache-2.0
"""Contrast sensitivity: the ModelFest Gabors, at the model's own size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.toolkit import (
    SPEARMAN,
    DistanceName,
    Features,
    Items,
    ModelInfo,
    PerceptualCallback,
    Range,
    Stimulus,
    krocc,
    over_items,
    plcc,
    srocc,
)

# cycles per degree, Gaussian's sigma in degrees, log10 sensitivity (mean of 16 observers)
GABORS = np.array(
    [
        *[(1.12, 0.5, 1.820953), (2, 0.5, 1.960312), (2.83, 0.5, 2.063156), (4, 0.5, 2.106484), (5.66, 0.5, 1.991906)],
        *[(8, 0.5, 1.843609), (11.3, 0.5, 1.620891), (16, 0.5, 1.29775), (22.6, 0.5, 0.959453), (30, 0.5, 0.567469)],
        *[(2, 0.25, 1.769281), (4, 0.125, 1.618547), (8, 0.0625, 1.192859), (16, 0.03125, 0.513484)],
    ]
)
FEWEST = 8
EDGE = 1e-3  # 30 c/deg at 128 px over 2.133 degrees is at half the pixels a degree, in whichever rounding
STEP = 0.005  # log10 units (.1 dB): ten stimuli are equal to a pixel observer, whose ties rounding errors would break


class ContrastSensitivity(PerceptualCallback):
    """Is the model more sensitive to the gratings that people are more sensitive to? Chance 0, higher = more alike.

    Sensitivity = distance between a Gabor of contrast ``contrast`` and uniform grey (.5 of the encoded range), over
    the contrast; log10, against that of 16 observers. ``degrees``: of visual angle that the input spans; Gabors
    beyond half its pixels a degree are left out, and below eight the benchmark is null.
    """

    family: ClassVar[str] = "human"
    version: ClassVar[int] = 1
    full_precision = True  # low contrasts move embeddings by less than half precision resolves
    human_data: ClassVar[str] = "thresholds of 16 observers, ModelFest"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Watson & Ahumada 2005, doi 10.1167/5.9.6; means from gfxdisp/castleCSF"
    licence: ClassVar[str] = "MIT"

    def __init__(
        self,
        contrast: Annotated[float, Range(above=0, high=1)] = 0.1,
        degrees: Annotated[float, Range(above=0)] = 2.133,
        distance: DistanceName = "euclidean",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.contrast, self.degrees, self.distance = contrast, degrees, distance

    def adapt(self, model: ModelInfo) -> str | None:
        """Gabors that the model's pixels can carry, made at its size; the pixel baseline over the same."""
        self.size, nyquist = model.image_size, model.image_size / self.degrees / 2
        self.rows = np.flatnonzero(GABORS[:, 0] < nyquist * (1 - EDGE))
        if len(self.rows) < FEWEST:
            return f"{len(self.rows)} of 14 Gabors are below {nyquist:.3g} cycles/degree, {FEWEST} are needed"
        human = GABORS[self.rows, 2]
        rms = [float(np.sqrt(np.mean((self.gabor(row)() - 0.5) ** 2))) for row in self.rows]
        unit = f"{len(self.rows)} of 14 Gabors, jackknife, t"
        headline = replace(SPEARMAN, unit=unit, has_verdict=False)
        self.scores = [
            replace(headline, baselines={"pixel RMSE": srocc(self.log_sensitivity(rms), human)}),
            replace(headline, name="plcc", label="PLCC, log-log", compute=over_items(plcc), role="detail"),
            replace(headline, name="krocc", label="KROCC (tau-b)", compute=over_items(krocc), role="detail"),
        ]
        return None

    def gabor(self, row: int, contrast: float | None = None) -> partial[NDArray[np.float32]]:
        """What makes an image."""
        return partial(
            gabor, self.size, self.degrees, *GABORS[row, :2], self.contrast if contrast is None else contrast
        )

    def id(self, row: int | str) -> str:
        """An image's id: at another size, or of another contrast, it is another image."""
        return f"contrast_sensitivity/{self.size}/{self.degrees:g}/{self.contrast:g}/{row}"

    def log_sensitivity(self, distances: Any) -> NDArray[np.float64]:
        """log10 of distance over contrast [N]; minus infinity where a grating is not seen."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.round(np.log10(np.asarray(distances) / self.contrast) / STEP) * STEP)

    def stimuli(self) -> Iterator[Stimulus]:
        """Grey, and the Gabors."""
        yield Stimulus(self.id("grey"), self.gabor(0, 0.0), "native")
        for row in self.rows.tolist():
            yield Stimulus(self.id(row), self.gabor(row), "native")

    def pairs(self) -> list[tuple[str, str]]:
        """Grey and a Gabor."""
        return [(self.id("grey"), self.id(row)) for row in self.rows.tolist()]

    def items(self, features: Features) -> Items:
        """One Gabor each."""
        frequency, sigma, human = GABORS[self.rows].T
        return Items(
            self.log_sensitivity(features.pairs.distance(self.distance)),
            human,
            [f"{f:g} c/deg, sigma {s:g}" for f, s in zip(frequency, sigma, strict=True)],
            conditions={"frequency": frequency, "sigma": sigma},
        )


def gabor(size: int, degrees: float, frequency: float, sigma: float, contrast: float) -> NDArray[np.float32]:
    """A horizontal grating in cosine phase under a Gaussian on grey, float32 [size, size, 3] in [0, 1]."""
    place = (np.arange(size) - (size - 1) / 2) * degrees / size
    y, x = np.meshgrid(place, place, indexing="ij")
    carrier = np.cos(2 * np.pi * frequency * y) * np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return np.repeat((0.5 * (1 + contrast * carrier)).astype(np.float32)[..., None], 3, axis=2)
