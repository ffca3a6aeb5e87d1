# SPDX-License-Identifier: Apache-2.0
"""Contrast constancy: which contrasts look alike to a model at different spatial frequencies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import jackknife
from clip_align.callbacks.base import Download, Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.sensitivity_scores import lengths
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.metrics.correlation import why_undefined
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.displayed_gratings import (
    FREQUENCIES,
    REFERENCE_FREQUENCY,
    REPOSITORY,
    matched_grating,
    read_matching,
)
from clip_align.perception.distances import DistanceName
from clip_align.perception.gabors import below_nyquist
from clip_align.structure import Range

LADDER = np.logspace(-3, 0, 25)  # contrasts shown at each frequency, an eighth of a factor of ten apart
FEWEST = 5  # frequencies, the reference's among them


class ContrastMatching(PerceptualCallback):
    """Do gratings that look alike to people at nine spatial frequencies look alike to the model? 0 = perfect.

    The contrast at each frequency (.25 to 25 c/deg) whose distance from the uniform field is that of a reference
    grating of 5 c/deg, for eight reference contrasts, against the contrast that people set; ``rmse`` is the root mean
    squared difference of log10 contrast, lower is better. Above threshold people are nearly constant: a metric of
    linear luminance, which matches equal contrasts, has .3330 with all nine frequencies. The match is interpolated
    between 25 contrasts from .001 to 1 (the authors search for it); beyond them it is .001 or 1 (note
    ``out_of_range``: how many). Frequencies from the Nyquist frequency up are left out, and fewer than five are null
    (inputs below 38 px).

    Protocol of Cai et al., CVPR 2025 (arXiv 2502.20256), images at the model's size over 3.73 degrees, 10 cd/m^2 on a
    display of 400. Human data: digitized from published figures, in the authors' repository, which states no licence:
    github.com/caiyancheng/VFM_HVS_CVPR2025.

    Args:
        root: folder of the repository, with ``gt_json`` in it.
        field_deg: degrees of visual angle that the model's input spans, at any size (the authors': 224/60).
        distance: ``cosine`` (the authors' angle, ordered alike), ``euclidean`` or ``normalised_euclidean``.
        base: see `PerceptualCallback`.
    """

    family: ClassVar[str] = "human"
    panel: Panel | None = "psychophysics"  # its own: opinions of images are another matter
    version: ClassVar[int] = 1
    full_precision = True  # the lowest contrasts are not visible
    human_data: ClassVar[str] = "matched contrasts of gratings, digitized from published figures"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Cai et al. 2025, arXiv 2502.20256, and the sources of its figures"
    licence: ClassVar[str] = "none stated"
    download: ClassVar[Download] = REPOSITORY["matching"]

    def __init__(
        self,
        root: str,
        field_deg: Annotated[float, Range(above=0, high=90)] = 3.7333,
        distance: DistanceName = "cosine",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.field_deg = field_deg
        self.distance, self.size = distance, 224  # the authors' size, until a model is known
        self.data = read_matching(self.download.folder(root, self.key), self.key)
        self.shown = np.arange(len(FREQUENCIES))
        self.scores = (_score(len(self.data.reference), len(self.shown)),)

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose the frequencies that the model's pixels can carry, and evaluate a pixel baseline on them."""
        self.size = model.image_size
        self.shown = np.flatnonzero(below_nyquist(np.array(FREQUENCIES), self.size, self.field_deg))
        if len(self.shown) < FEWEST:
            return (
                f"at {self.size} px, {len(self.shown)} of {len(FREQUENCIES)} frequencies are below the Nyquist "
                f"frequency of {self.size / self.field_deg / 2:.3g} cycles/degree, {FEWEST} are needed; a smaller "
                "field_deg has more"
            )
        self.scores = (_score(len(self.data.reference), len(self.shown)),)
        baselines = baselines_by_score(self, {"linear luminance RMSE": ColorDistance("linear RGB")})
        self.scores = (replace(self.scores[0], baselines=baselines.get("rmse", {})),)
        return None

    def stimuli(self) -> Iterator[Stimulus]:
        """The uniform field, the references, and all contrasts at each frequency."""
        # by id: a reference may have a contrast of the ladder
        by_id = {self._id(*grating): grating for grating in [(0.0, 0.0), *self._gratings()]}
        for id_, grating in by_id.items():
            yield Stimulus(id_, partial(matched_grating, self.size, self.field_deg, *grating), "native")

    def pairs(self) -> list[tuple[str, str]]:
        """The uniform field with each grating, the references first."""
        return [(self._id(0.0, 0.0), self._id(*grating)) for grating in self._gratings()]

    def items(self, features: Features) -> Items:
        """One item per reference contrast and frequency: log10 of the model's match, and of people's."""
        references, n = len(self.data.reference), len(self.shown)
        model, notes = {}, {}
        for name, distance in lengths(features, self.distance).items():
            ladder = distance[references:].reshape(n, len(LADDER))
            matched = np.array([[match(target, row) for row in ladder] for target in distance[:references]])
            model[name] = np.log10(matched).ravel()
            if name == self.distance:
                ends = np.isin(matched, LADDER[[0, -1]])
                notes["out_of_range"] = float(np.count_nonzero(ends))
        frequency = np.array(FREQUENCIES)[self.shown]
        contrast = np.repeat(self.data.reference, n)
        return Items(
            model,
            np.log10(self.data.matched[:, self.shown]).ravel(),
            [f"reference {r + 1}, {f:g} c/deg" for r in range(references) for f in frequency],
            {"reference": np.repeat(np.arange(references), n)},
            {"frequency": np.tile(frequency, references), "reference_contrast": contrast},
            notes,
        )

    def _gratings(self) -> list[tuple[float, float]]:
        """(frequency, contrast): the references, then each frequency's ladder."""
        references = [(REFERENCE_FREQUENCY, contrast) for contrast in self.data.reference.tolist()]
        return references + [(FREQUENCIES[f], contrast) for f in self.shown for contrast in LADDER.tolist()]

    def _id(self, frequency: float, contrast: float) -> str:
        return f"contrast_matching/{self.size}/{self.field_deg:g}/{frequency:g}/{contrast:.9g}"


def match(target: float, distances: NDArray[np.float64]) -> float:
    """The contrast at which the distance reaches a target, interpolated in logarithms; NaN for non-finite distances.

    Args:
        target: distance of the reference.
        distances: at the contrasts of the ladder, ascending.

    Of several crossings it is the one at the lowest contrast. The ends of the ladder stand for what lies beyond.
    """
    if not (math.isfinite(target) and np.isfinite(distances).all()):
        return math.nan
    reached = np.flatnonzero(distances >= target)
    if not len(reached):
        return float(LADDER[-1])
    after = int(reached[0])
    if after == 0:
        return float(LADDER[0])
    low, high = distances[after - 1], distances[after]  # low < target <= high
    # a distance of 0 has no logarithm
    fraction = math.log(target / low) / math.log(high / low) if low > 0 else (target - low) / (high - low)
    return float(LADDER[after - 1] * (LADDER[after] / LADDER[after - 1]) ** fraction)


def _estimate(items: Items) -> Estimate:
    model = next(iter(items.model.values()))
    reason = why_undefined(model, items.human)
    if reason:
        return undefined(reason)
    square = (model - items.human) ** 2
    references = items.clusters["reference"]
    return jackknife(lambda rows: float(np.sqrt(square[rows].mean())), references, limits=(0.0, math.inf))


def _score(references: int, frequencies: int) -> Score:
    return Score(
        "rmse",
        "RMSE of matched contrasts (log10)",
        _estimate,
        direction=f"lower = contrasts that look alike to people, at {frequencies} frequencies, look alike to the model",
        unit=f"{references} reference contrasts, jackknife, t({references - 1})",
        axis=(0.0, 1.5),
        role="headline",
        higher_is_better=False,
    )
