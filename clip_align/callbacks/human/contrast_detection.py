# SPDX-License-Identifier: Apache-2.0
"""Contrast detection: how visible gratings and noise near the human threshold are, in luminance and in color."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.sensitivity_scores import lengths, visibility
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.perception.castle_csf import DIRECTIONS
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.detection_gratings import GRATINGS, MULTIPLES, NOISE, sensitivities
from clip_align.perception.displayed_gratings import band_noise, color_detection_gabor, detection_gabor, has_band
from clip_align.perception.distances import DistanceName
from clip_align.perception.gabors import below_nyquist
from clip_align.structure import Distinct, Range

Condition = Literal["frequency", "area", "luminance", "red_green", "yellow_violet", "noise"]
EVERY: tuple[Condition, ...] = ("frequency", "area", "luminance", "red_green", "yellow_violet", "noise")

FEWEST = 8  # gratings of a condition
LABELS = {
    "red_green": "frequency, red-green",
    "yellow_violet": "frequency, yellow-violet",
    "noise": "frequency, noise of an octave",
}


class ContrastDetection(PerceptualCallback):
    """Is a grating of k times the human threshold equally visible to the model, whatever it is? Chance 0, oracle 1.

    Twenty grey Gabors each along ``frequency`` (.5 to 32 c/deg, sigma 1 degree, 100 cd/m^2), ``area`` (8 c/deg, sigma
    .1 to 1 degree, 100 cd/m^2) and ``luminance`` (2 c/deg, sigma 1 degree, .1 to 200 cd/m^2); those along frequency
    also in color, ``red_green`` and ``yellow_violet`` (below 16 c/deg), and as grey ``noise`` an octave wide. All are
    shown at ten multiples k of the threshold, .5 to 2; each score is the rank correlation of k with the distance
    between the embeddings of the uniform field and the grating. Any model that responds more to more contrast is above
    0: a metric of linear RGB has, without gratings left out, .4790 (frequency), .9253 (area), .5302 (red-green), .6580
    (yellow-violet) and .4597 (noise); read scores above those. Gratings, and centers of noise, from the Nyquist
    frequency up are left out, fewer than eight are null.

    The six tests of detection of Cai et al., CVPR 2025 (arXiv 2502.20256), at the model's size over 3.73 degrees, on a
    display of 400 cd/m^2. The thresholds are those of castleCSF (MIT), a formula fitted to published measurements.
    Contrast in color is its root mean square of the cone contrasts; that of the authors' images differs by a constant
    factor.

    Args:
        conditions: those that are shown, some 200 images each; the first is the headline.
        field_deg: degrees of visual angle that the model's input spans, at any size (the authors': 224/60).
        distance: ``cosine`` (the authors' angle, ordered alike), ``euclidean`` or ``normalised_euclidean``.
        base: see `PerceptualCallback`.
    """

    family: ClassVar[str] = "human"
    panel: Panel | None = "psychophysics"  # its own: opinions of images are another matter
    version: ClassVar[int] = 1
    full_precision = True  # gratings at half the threshold are faint
    human_data: ClassVar[str] = "none measured here: contrast thresholds by castleCSF, fitted to published ones"
    stand_in: ClassVar[str] = "the thresholds, a formula's"
    source: ClassVar[str] = (
        "Cai et al. 2025, arXiv 2502.20256; castleCSF: Ashraf et al. 2024, Journal of Vision 24(4):5"
    )
    licence: ClassVar[str] = "MIT"

    def __init__(
        self,
        conditions: Annotated[Sequence[Condition], Distinct()] = EVERY,
        field_deg: Annotated[float, Range(above=0, high=90)] = 3.7333,
        distance: DistanceName = "cosine",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.conditions: tuple[str, ...] = tuple(conditions)
        self.field_deg, self.distance, self.size = field_deg, distance, 224  # the authors' size, until a model is known
        self._choose()

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose the gratings that the model's pixels can carry, and evaluate a pixel baseline on the same images."""
        self.size = model.image_size
        self._choose()
        if not self.shown:
            return (
                f"at {self.size} px, fewer than {FEWEST} gratings of each condition are below the Nyquist frequency of "
                f"{self.size / self.field_deg / 2:.3g} cycles/degree"
            )
        baselines = baselines_by_score(self, {"linear RGB RMSE": ColorDistance("linear RGB")})
        self.scores = tuple(replace(score, baselines=baselines.get(score.name, {})) for score in self.scores)
        return None

    def _choose(self) -> None:
        rows = {name: self._rows_of(name) for name in self.conditions}
        self.shown = {name: GRATINGS[name][kept] for name, kept in rows.items() if len(kept) >= FEWEST}
        headline = next(iter(self.shown), self.conditions[0])
        self.scores = tuple(_score(name, len(kept), name == headline) for name, kept in rows.items())

    def stimuli(self) -> Iterator[Stimulus]:
        """The uniform fields and the gratings, each once: conditions have some in common."""
        made: set[str] = set()
        for name, grating, contrast in self._images():
            field = partial(detection_gabor, self.size, self.field_deg, *grating, 0.0)
            shown = self._load(name, grating, contrast)
            for id_, load in ((self._field_id(grating), field), (self._id(name, grating, contrast), shown)):
                if id_ not in made:
                    made.add(id_)
                    yield Stimulus(id_, load, "native")

    def pairs(self) -> list[tuple[str, str]]:
        """The uniform field with each grating, all multiples of the threshold in a row."""
        return [(self._field_id(grating), self._id(name, grating, k)) for name, grating, k in self._images()]

    def items(self, features: Features) -> Items:
        """One item per grating and multiple: the model's distances, and the multiple of the human threshold."""
        rows = [(name, grating) for name, gratings in self.shown.items() for grating in gratings.tolist()]
        names = [f"{name}: {f:.3g} c/deg, sigma {s:.3g}, {y:.3g} cd/m^2" for name, (f, s, y) in rows]
        n = len(MULTIPLES)
        return Items(
            lengths(features, self.distance),
            np.tile(MULTIPLES, len(rows)),
            [f"{name}, multiple {k + 1}" for name in names for k in range(n)],
            {"grating": np.repeat(names, n)},
            {"condition": np.repeat([name for name, _ in rows], n)},
        )

    def _rows_of(self, condition: str) -> NDArray[np.intp]:
        """The gratings of a condition that the model's pixels can carry."""
        frequency = GRATINGS[condition][:, 0]
        carried = below_nyquist(frequency, self.size, self.field_deg)
        if condition == NOISE:  # of a small field no frequency need lie in an octave
            carried &= [has_band(self.size, self.field_deg, f) for f in frequency.tolist()]
        return np.flatnonzero(carried)

    def _images(self) -> Iterator[tuple[str, tuple[float, float, float], float]]:
        """Condition, (frequency, sigma, luminance) and contrast of each pair."""
        for name, gratings in self.shown.items():
            threshold = 1 / sensitivities(name, gratings)
            for (f, s, y), contrasts in zip(gratings.tolist(), np.outer(threshold, MULTIPLES).tolist(), strict=True):
                yield from ((name, (f, s, y), contrast) for contrast in contrasts)

    def _load(
        self, condition: str, grating: tuple[float, float, float], contrast: float
    ) -> partial[NDArray[np.float32]]:
        if condition == NOISE:
            frequency, _, luminance = grating
            return partial(band_noise, self.size, self.field_deg, frequency, luminance, contrast)
        if condition in DIRECTIONS:
            return partial(color_detection_gabor, self.size, self.field_deg, *grating, contrast, condition)
        return partial(detection_gabor, self.size, self.field_deg, *grating, contrast)

    def _id(self, condition: str, grating: tuple[float, ...], contrast: float) -> str:
        # grey gratings of two conditions may be one image
        kind = f"{condition}/" if condition == NOISE or condition in DIRECTIONS else ""
        numbers = "/".join(f"{v:.6g}" for v in (*grating, contrast))
        return f"contrast_detection/{self.size}/{self.field_deg:g}/{kind}{numbers}"

    def _field_id(self, grating: tuple[float, ...]) -> str:
        return f"contrast_detection/{self.size}/field/{grating[2]:.6g}"


def _score(condition: str, n: int, headline: bool) -> Score:
    total = len(GRATINGS[condition])
    too_coarse = f"fewer than {FEWEST} of its {total} gratings are below the Nyquist frequency"
    return Score(
        f"{condition}_srocc",
        f"SROCC over {LABELS.get(condition, condition)}",
        partial(visibility, condition=condition, too_coarse=too_coarse),
        direction="higher = visibility follows the multiple of the human threshold, whatever the grating",
        chance=0.0,
        unit=f"{n} of {total} gratings, jackknife, t",
        axis=(-1.0, 1.0),
        role="headline" if headline else "companion" if n >= FEWEST else "detail",
        higher_is_better=True,
    )
