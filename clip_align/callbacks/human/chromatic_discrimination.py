# SPDX-License-Identifier: Apache-2.0
"""Chromatic discrimination: the ellipses of equal distance to a model, against MacAdam's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import jackknife
from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.sensitivity_scores import lengths
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.perception import macadam
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.distances import DistanceName
from clip_align.perception.macadam import Ellipses
from clip_align.structure import Range

Statistic = Callable[[Ellipses, Ellipses], float]

FEWEST = 8  # centers of a score
SAME_AREA = 1e-6  # relative difference of areas below which all are equal
CIRCLE = 1.01  # elongation below which an ellipse has no orientation
SPACES = ("linear RGB", "XYZ", "CIELAB", "CIELUV", "Oklab")
SPACES_SOURCE = "Euclidean distance in that color space, on the same colors, in place of a model"


class ChromaticDiscrimination(PerceptualCallback):
    """Where is the model sensitive to color, and in which direction? MacAdam's ellipses inside sRGB. Chance 0.

    Around each center, uniform fields displaced in x and y at constant luminance; the quadratic form that fits the
    model's squared distances best has an ellipse of unit distance. ``area_srocc``: rank correlation of its area with
    MacAdam's over the centers. ``orientation``: mean cosine of twice the angle between the major axes, 1 = parallel,
    -1 = orthogonal; ``angle_deg``: mean angle, 45 by chance. ``elongation_srocc``: of the ratio of the axes. With the
    defaults 14 of the 25 ellipses are inside sRGB: the intervals are wide. No color space is near 1 (Oklab .92, sRGB
    .69), and CIELAB is no better than linear RGB.

    One observer (PGN), a bipartite field of 2 degrees at about 48 cd/m^2, surrounded by illuminant C; the model sees
    one uniform field that fills its input. Null for a form that is no ellipse, for equal areas (such as of a metric
    that is Euclidean in x and y), and, of what needs an orientation, where fewer than eight ellipses are elongated.
    Data: colour-science (BSD-3-Clause), embedded.

    Args:
        luminance: Y of the fields, relative to white; at higher ones fewer centers are inside sRGB.
        step: displacement, in mean radii of the center's own ellipse, 0.1 to 5.
        directions: number of displaced fields around a center, evenly spread.
        distance: ``euclidean``, ``cosine`` (as the chord between unit vectors) or ``normalised_euclidean``.
        base: see `PerceptualCallback`.
    """

    family: ClassVar[str] = "human"
    panel: Panel | None = "psychophysics"  # its own: opinions of images are another matter
    version: ClassVar[int] = 1
    full_precision = True  # displacements are some thousandths
    human_data: ClassVar[str] = "MacAdam's ellipses of color matches, observer PGN"
    stand_in: ClassVar[str] = "none; the model sees one uniform field"
    source: ClassVar[str] = "MacAdam 1942, doi 10.1364/JOSA.32.000247; table of colour-science 0.4.7"
    licence: ClassVar[str] = "BSD-3-Clause"

    def __init__(
        self,
        luminance: Annotated[float, Range(above=0, high=1)] = 0.1,
        step: Annotated[float, Range(low=0.1, high=5)] = 3.0,
        directions: Annotated[int, Range(low=5, high=64)] = 16,
        distance: DistanceName = "euclidean",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.luminance, self.step, self.directions, self.distance = luminance, step, directions, distance
        self.steps = macadam.displacements(step, directions)
        self.centers = macadam.inside_srgb(luminance, self.steps)
        if len(self.centers) < FEWEST:
            raise UserError(
                option_problem(
                    self.key,
                    "luminance",
                    f"{len(self.centers)} of 25 centers are inside sRGB at luminance={luminance:g}, step={step:g}; "
                    f"{FEWEST} are needed: lower one of them",
                )
            )
        self.scores = tuple(_scores(len(self.centers), self.centers))

    def adapt(self, model: ModelInfo) -> None:
        """Evaluate color spaces on the same colors; the images are of a single color, whatever the model's size."""
        baselines = baselines_by_score(self, {"pixels (sRGB)": ColorDistance()})
        spaces = baselines_by_score(self, {name: ColorDistance(name) for name in SPACES})
        self.scores = tuple(
            replace(
                score,
                baselines=baselines.get(score.name, {}),
                context=spaces.get(score.name, {}),
                context_source=SPACES_SOURCE if score.name in spaces else "",
            )
            for score in self.scores
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """Each center, then the fields around it; a single pixel each, enlarged when it is encoded."""
        for center in self.centers.tolist():
            x, y = macadam.centers()[center].tolist()
            steps = [(0.0, 0.0), *self.steps[center].tolist()]
            for id_, (dx, dy) in zip(self._ids(center), steps, strict=True):
                yield Stimulus(id_, partial(macadam.field, x + dx, y + dy, self.luminance), "native")

    def pairs(self) -> list[tuple[str, str]]:
        """Each center with the fields around it."""
        ids = [self._ids(center) for center in self.centers.tolist()]
        return [(center, other) for center, *around in ids for other in around]

    def items(self, features: Features) -> Items:
        """One item per center: area, angle and elongation of the model's ellipse, and MacAdam's."""
        distance = lengths(features, self.distance)[self.distance].reshape(len(self.centers), -1)
        model = macadam.ellipses_of(macadam.metrics_of(distance, self.steps[self.centers]))
        human = macadam.observed()[self.centers]
        names = [f"center {center + 1:02d}" for center in self.centers.tolist()]
        return Items(
            {"area": model.area, "angle": model.angle, "elongation": model.elongation},
            human.area,
            names,
            {"center": names},
            {"angle": human.angle, "elongation": human.elongation},
        )

    def _ids(self, center: int) -> list[str]:
        """Ids of a center and of the fields around it."""
        options = f"{self.luminance:g}/{self.step:g}/{self.directions}"
        return [
            f"chromatic_discrimination/{options}/{center + 1:02d}_{number:02d}" for number in range(self.directions + 1)
        ]


def _estimate(items: Items, statistic: Statistic, oriented: bool, limits: tuple[float, float]) -> Estimate:
    """The statistic over the centers, with its jackknife interval.

    Args:
        items: of all centers.
        statistic: of the model's ellipses and MacAdam's.
        oriented: leave out circles, which have no orientation.
        limits: lowest and highest value.
    """
    model = Ellipses(*(items.model[name] for name in ("area", "angle", "elongation")))
    human = Ellipses(items.human, items.conditions["angle"], items.conditions["elongation"])
    missing = int(np.count_nonzero(~np.isfinite(model.area)))
    if missing:
        return undefined(f"the model's distances make no ellipse around {missing} of {len(items)} centers")
    if model.area.max() <= model.area.min() * (1 + SAME_AREA):
        return undefined(f"the model's ellipses have the same area around all {len(items)} centers")
    kept = np.flatnonzero(model.elongation >= CIRCLE) if oriented else np.arange(len(items))
    if len(kept) < FEWEST:
        return undefined(
            f"the model's ellipses are circles around {len(items) - len(kept)} of {len(items)} centers; "
            f"{FEWEST} with an orientation are needed"
        )

    def over(rows: NDArray[np.intp]) -> float:
        return statistic(model[kept[rows]], human[kept[rows]])

    return jackknife(over, kept, limits=limits)


def _scores(n: int, centers: NDArray[np.intp]) -> Iterator[Score]:
    detail = partial(Score, unit=f"{n} of 25 centers, jackknife, t({n - 1})", axis=(-1.0, 1.0), higher_is_better=True)
    correlated, full = "higher = ellipses are large where MacAdam's are", (-1.0, 1.0)

    def compute(statistic: Statistic, oriented: bool = False, limits: tuple[float, float] = full) -> Any:
        return partial(_estimate, statistic=statistic, oriented=oriented, limits=limits)

    def ceiling(statistic: Statistic) -> dict[str, float]:
        value = statistic(macadam.calculated()[centers], macadam.observed()[centers])
        return {"the ellipses as calculated in 1945": value}

    yield detail(
        "area_srocc",
        "SROCC of areas",
        compute(macadam.area_srocc),
        direction=correlated,
        chance=0.0,
        ceilings=ceiling(macadam.area_srocc),
        role="headline",
    )
    yield detail(
        "orientation",
        "orientation",
        compute(macadam.orientation, oriented=True),
        direction="1 = the major axes are parallel to MacAdam's, -1 = orthogonal",
        chance=0.0,
        ceilings=ceiling(macadam.orientation),
        role="companion",
    )
    yield detail(
        "elongation_srocc",
        "SROCC of elongations",
        compute(macadam.elongation_srocc),
        direction="higher = ellipses are long where MacAdam's are",
        chance=0.0,
        ceilings=ceiling(macadam.elongation_srocc),
    )
    yield detail(
        "angle_deg",
        "mean angle of the axes (degrees)",
        compute(macadam.angle_deg, oriented=True, limits=(0.0, 90.0)),
        direction="lower = the major axes are nearer to MacAdam's",
        chance=45.0,
        ceilings=ceiling(macadam.angle_deg),
        axis=(0.0, 90.0),
        higher_is_better=False,
    )
