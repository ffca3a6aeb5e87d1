# SPDX-License-Identifier: Apache-2.0
"""Spectral sensitivity: how visible patches of nearly monochromatic light are, against luminous efficiency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.pair_scores import others, over_items
from clip_align.callbacks.common.sensitivity_scores import lengths
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.metrics import correlation
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.distances import DistanceName
from clip_align.perception.observers import PSNR
from clip_align.perception.spectral_patches import patch, patches

FIELD = "field"
SMALL = 8  # px of images that pixel baselines are evaluated on
# Vila-Tomás et al. 2025, Benchmarks/results of Jorgvt/visturing (two digits)
PUBLISHED = {"SSIM": 0.54, "ResNet-18, layer1": 0.60, "ResNet-18, fc": 0.25}
PUBLISHED_SOURCE = (
    "Vila-Tomás et al. 2025, published results (Pearson, two digits); luminance difference: a formula on the same "
    "patches (a positive control)"
)


class SpectralSensitivity(PerceptualCallback):
    """30 patches from 400 to 700 nm on a grey field: is the model's distance from the field like V(lambda)? Chance 0.

    The model's value of a wavelength is the distance between the embeddings of the field with the patch and without;
    it is correlated with the luminous efficiency as modified by Judd and Vos: Pearson (the authors'), rank correlations
    beside it. Property 1 of Vila-Tomás et al. 2025, doi 10.3389/frai.2025.1665874; the 8-bit colors are theirs, drawn
    at the model's input size (a square of half the side). A perfect luminance meter reaches .997, a pixel RMSE .630: a
    display cannot show monochromatic light, and most of the patches differ from the field in hue.

    Neighbouring wavelengths are alike, so that the interval, over single ones, is rather too narrow. Data embedded:
    Jorgvt/visturing (Apache-2.0), perceptualtests (BSD-2-Clause), colour-science (BSD-3-Clause).

    Args:
        distance: ``euclidean``, ``cosine`` (as the chord between unit vectors) or ``normalised_euclidean``.
        base: see `PerceptualCallback`.
    """

    family: ClassVar[str] = "human"
    panel: Panel | None = "psychophysics"  # its own: opinions of images are another matter
    version: ClassVar[int] = 1
    full_precision = True  # patches at the ends of the spectrum are hardly different from the field
    human_data: ClassVar[str] = "luminous efficiency V(lambda) of the Judd-Vos modified observer"
    stand_in: ClassVar[str] = "none; the patches are a display's approximation of monochromatic light"
    source: ClassVar[str] = "Vila-Tomás et al. 2025, doi 10.3389/frai.2025.1665874; V(lambda): Vos 1978"
    licence: ClassVar[str] = "Apache-2.0 (patches) AND BSD-2-Clause AND BSD-3-Clause (tables of V)"

    def __init__(self, distance: DistanceName = "euclidean", **base: Any) -> None:
        super().__init__(**base)
        self.distance, self.size = distance, 256  # the authors' size, until a model is known
        self.scores = tuple(_scores(distance))

    def adapt(self, model: ModelInfo) -> None:
        """Draw the patches at the model's size, and evaluate pixel baselines."""
        scores = tuple(_scores(self.distance))
        self.size = SMALL  # the side of the square is in all pixel distances alike, and in no correlation
        baselines = baselines_by_score(self, {"pixel RMSE": ColorDistance(), "PSNR": PSNR})
        control = baselines_by_score(self, {"luminance difference": ColorDistance("luminance")})
        published = {"plcc": PUBLISHED}
        self.scores = tuple(
            replace(
                score,
                baselines=baselines.get(score.name, {}),
                context={**control.get(score.name, {}), **published.get(score.name, {})},
                context_source=PUBLISHED_SOURCE,
            )
            for score in scores
        )
        self.size = model.image_size

    def stimuli(self) -> Iterator[Stimulus]:
        """The field, then with each patch."""
        yield Stimulus(self._id(FIELD), partial(patch, self.size, None), "native")
        for number, color in enumerate(patches().color.tolist(), start=1):
            yield Stimulus(self._id(f"{number:02d}"), partial(patch, self.size, tuple(color)), "native")

    def pairs(self) -> list[tuple[str, str]]:
        """The field with each patch."""
        numbers = range(1, len(patches().wavelength) + 1)
        return [(self._id(FIELD), self._id(f"{number:02d}")) for number in numbers]

    def items(self, features: Features) -> Items:
        """One item per wavelength: the model's distances, and V(lambda)."""
        of = patches()
        names = [f"{wavelength:.1f} nm" for wavelength in of.wavelength]
        conditions = {"wavelength": of.wavelength}
        return Items(lengths(features, self.distance), of.judd_vos, names, {"wavelength": names}, conditions)

    def _id(self, name: str) -> str:
        return f"spectral_sensitivity/{self.size}/{name}"


def _scores(distance: DistanceName) -> Iterator[Score]:
    of = patches()
    detail = partial(
        Score,
        direction="higher = more sensitive to the wavelengths that people are more sensitive to",
        chance=0.0,
        unit="30 wavelengths, jackknife, t(29)",
        axis=(-1.0, 1.0),
        higher_is_better=True,
    )
    for name, label, statistic in (
        ("plcc", "PLCC", correlation.plcc),
        ("srocc", "SROCC", correlation.srocc),
        ("krocc", "KROCC (tau-b)", correlation.krocc),
    ):
        yield detail(
            name,
            label,
            over_items(statistic),
            ceilings={"the standard V of 1924": statistic(of.cie_1924, of.judd_vos)},
            role="headline" if name == "plcc" else "detail",
        )
    for other in others(distance):
        label = f"PLCC, {other.replace('_', ' ')}"
        yield detail(f"plcc_{other}", label, over_items(correlation.plcc, value=other))
