# SPDX-License-Identifier: Apache-2.0
"""Contrast masking: how visible a grating on a mask is, against human thresholds on the same masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Download, Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.sensitivity_scores import lengths, visibility
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.detection_gratings import MULTIPLES
from clip_align.perception.displayed_gratings import (
    CONDITIONS,
    REPOSITORY,
    Masking,
    masked_gabor,
    read_masking,
)
from clip_align.perception.distances import DistanceName
from clip_align.perception.gabors import below_nyquist
from clip_align.structure import Range

HEADLINE = "coherent"


class ContrastMasking(PerceptualCallback):
    """Is a grating of k times the human threshold equally visible to the model on every mask? Chance 0, oracle 1.

    On each mask, gratings of ten multiples k of the threshold, .5 to 2; the score is the rank correlation of k with
    the distance between the embeddings of the mask and of the mask with the grating, over all masks and multiples. Any
    model that responds more to more contrast is above 0: a metric of linear luminance, without masking, has .5094
    (``coherent_srocc``) and .6782 (``incoherent_srocc``); read scores above those. ``coherent``: Gabor of 2 c/deg on a
    grating of the same frequency and phase, 32 cd/m^2, 8 masks. ``incoherent``: Gabor of 1.2 c/deg on noise up to 12
    c/deg, 37 cd/m^2, 6 masks; for inputs from 90 px.

    Protocol of Cai et al., CVPR 2025 (arXiv 2502.20256), images at the model's size over 3.73 degrees, on a display of
    400 cd/m^2. Human data: digitized from published figures, in the authors' repository, which states no licence:
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
    full_precision = True  # gratings at half the threshold are faint
    human_data: ClassVar[str] = "contrast thresholds of gratings on masks, digitized from published figures"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Cai et al. 2025, arXiv 2502.20256, and the sources of its figures"
    licence: ClassVar[str] = "none stated"
    download: ClassVar[Download] = REPOSITORY["masking"]

    def __init__(
        self,
        root: str,
        field_deg: Annotated[float, Range(above=0, high=90)] = 3.7333,
        distance: DistanceName = "cosine",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.field_deg = field_deg
        folder = self.download.folder(root, self.key)
        self.distance, self.size = distance, 224  # the authors' size, until a model is known
        self.data = {name: read_masking(folder, name, self.key) for name in CONDITIONS}
        self.conditions = tuple(CONDITIONS)
        self.scores = tuple(_score(name, data) for name, data in self.data.items())

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose the conditions that the model's pixels can carry, and evaluate a pixel baseline on the same images."""
        self.size = model.image_size
        highest = np.array([of.highest for of in CONDITIONS.values()])
        shown = below_nyquist(highest, self.size, self.field_deg)
        self.conditions = tuple(name for name, is_shown in zip(CONDITIONS, shown, strict=True) if is_shown)
        if not self.conditions:
            return f"at {self.size} px, a grating of {highest.min():g} c/deg is not below the Nyquist frequency"
        baselines = baselines_by_score(self, {"linear luminance RMSE": ColorDistance("linear RGB")})
        self.scores = tuple(
            replace(score, baselines=baselines.get(score.name, {}))
            for score in (_score(name, data) for name, data in self.data.items())
        )
        return None

    def stimuli(self) -> Iterator[Stimulus]:
        """Each mask, alone and with its gratings."""
        for name in self.conditions:
            of = self.data[name]
            for mask, threshold in zip(of.mask.tolist(), of.threshold.tolist(), strict=True):
                for contrast in (0.0, *(threshold * MULTIPLES).tolist()):
                    load = partial(masked_gabor, self.size, self.field_deg, name, mask, contrast)
                    yield Stimulus(self._id(name, mask, contrast), load, "native")

    def pairs(self) -> list[tuple[str, str]]:
        """Each mask with the gratings on it."""
        return [
            (self._id(name, mask, 0.0), self._id(name, mask, contrast))
            for name in self.conditions
            for mask, threshold in zip(self.data[name].mask.tolist(), self.data[name].threshold.tolist(), strict=True)
            for contrast in (threshold * MULTIPLES).tolist()
        ]

    def items(self, features: Features) -> Items:
        """One item per mask and multiple: the model's distances, and the multiple of the human threshold."""
        masks = [(name, number) for name in self.conditions for number in range(len(self.data[name].mask))]
        rows = [(name, number, k) for name, number in masks for k in range(len(MULTIPLES))]
        return Items(
            lengths(features, self.distance),
            [MULTIPLES[k] for _, _, k in rows],
            [f"{name} mask {number + 1} multiple {k + 1}" for name, number, k in rows],
            {"mask": [f"{name} {number + 1}" for name, number, _ in rows]},
            {
                "condition": [name for name, _, _ in rows],
                "mask_contrast": [self.data[name].mask[number] for name, number, _ in rows],
            },
        )

    def _id(self, condition: str, mask: float, contrast: float) -> str:
        return f"contrast_masking/{self.size}/{self.field_deg:g}/{condition}/{mask:g}/{contrast:.9g}"


def _score(condition: str, of: Masking) -> Score:
    n = len(of.mask)
    too_coarse = f"the model's input has too few pixels for {CONDITIONS[condition].highest:g} cycles/degree"
    return Score(
        f"{condition}_srocc",
        f"SROCC, {condition} mask",
        partial(visibility, condition=condition, too_coarse=too_coarse),
        direction="higher = visibility follows the multiple of the human threshold, whatever the mask",
        chance=0.0,
        unit=f"{n} masks, jackknife, t({n - 1})",
        axis=(-1.0, 1.0),
        role="headline" if condition == HEADLINE else "companion",
        higher_is_better=True,
    )
