# SPDX-License-Identifier: Apache-2.0
"""Contrast sensitivity: which gratings a model responds to, against human thresholds of the same gratings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.pair_scores import others
from clip_align.callbacks.common.sensitivity_scores import crossed_with_observers, lengths, observer_ceiling
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.observers import baselines_by_score
from clip_align.evaluation.score import Panel
from clip_align.metrics import correlation
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import t95
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.contrast_thresholds import (
    COLORFEST,
    COLORFEST_STEP,
    MODELFEST,
    MODELFEST_STEP,
    Gratings,
    colorfest,
    modelfest,
    with_ties,
)
from clip_align.perception.contrast_thresholds import sensitivities as thresholds_of
from clip_align.perception.distances import DistanceName, PairDifferences
from clip_align.perception.gabors import Rendering, below_nyquist, color_gabor, largest_contrast, luminance_gabor
from clip_align.perception.watson_ahumada import WatsonAhumada
from clip_align.structure import Range

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
Phases = Literal["auto", "cosine", "both"]

FEWEST = 8  # gratings of a correlation
DIRECTIONS = ("achromatic", "red_green", "tritan")  # those with enough frequencies for a score of their own
STATISTICS: Mapping[str, tuple[str, Statistic]] = {
    "srocc": ("SROCC", correlation.srocc),
    "plcc": ("PLCC, log-log", correlation.plcc),
    "krocc": ("KROCC (tau-b)", correlation.krocc),
}
POSITIVE_CONTROL = "formula on the same images, fitted to these very thresholds: a positive control, not a prediction"


class ContrastSensitivity(PerceptualCallback):
    """Is the model more sensitive to the gratings that people are more sensitive to? Chance 0, higher = more alike.

    Sensitivity of the model = distance between the embeddings of a grating of fixed contrast and of its uniform field,
    divided by the contrast; its logarithm is correlated with log10 of 1 / threshold. Gratings are made at the model's
    own input size; those from the Nyquist frequency up are left out (notes ``modelfest_left_out``,
    ``colorfest_left_out``), and a set with fewer than eight is null: compare scores of equal n only.

    ``srocc``, ``plcc``, ``krocc``: 14 achromatic Gabors of ModelFest, 16 observers. Ten of them are equal to a pixel
    metric, so that the model's values are rounded to .005 log10 units. At n = 14 a correlation below about .53 is
    within chance (two-sided 5 %), the pixel baseline of .49 too. ``colorfest_…``: 40 Gabors of ColorFest in seven
    directions of color space, three observers; pooled, which offsets between the directions dominate, per direction,
    and their mean ``colorfest_shape_srocc``. The two sets have different units of contrast and are never mixed. The
    headline is ``srocc``, or ``colorfest_srocc`` where only ColorFest has eight gratings (inputs of 9 to 34 px).

    The thresholds are of foveal vision, .5 s long, at 30 and 40 cd/m^2. Data: gfxdisp/castleCSF (MIT), embedded.

    Args:
        field_deg: degrees of visual angle that the model's input spans, at any size (ModelFest's images: 2.133).
        contrast: peak contrast of ModelFest's gratings, all alike.
        cone_contrast: RMS cone contrast of ColorFest's gratings, all alike; .069 is the most that sRGB can show.
        rendering: ModelFest's field of .5 and its contrast are those of the sRGB values (``encoded``), or of ``linear``
            light.
        phases: gratings in ``cosine`` phase, or ``both`` cosine and sine, whose distances are averaged; ``auto``:
            both where the model says that it cuts its input into patches, whose borders may coincide with a grating's.
        distance: ``euclidean``, ``cosine`` (as the chord between unit vectors) or ``normalised_euclidean``.
        base: see `PerceptualCallback`.
    """

    family: ClassVar[str] = "human"
    panel: Panel | None = "psychophysics"  # its own: opinions of images are another matter
    version: ClassVar[int] = 1
    full_precision = True  # low contrasts move embeddings by less than half precision resolves
    human_data: ClassVar[str] = "contrast thresholds of ModelFest (16 observers) and ColorFest (3 observers)"
    stand_in: ClassVar[str] = "none; the model's field is a still image without a surround"
    source: ClassVar[str] = (
        "Carney et al. 1999, doi 10.1117/12.348473; Watson & Ahumada 2005, doi 10.1167/5.9.6; Wuerger, Watson & "
        "Ahumada 2002, doi 10.1117/12.469512; numbers from gfxdisp/castleCSF"
    )
    licence: ClassVar[str] = "MIT"

    def __init__(
        self,
        field_deg: Annotated[float, Range(above=0, high=90)] = 2.133,
        contrast: Annotated[float, Range(above=0, high=1)] = 0.1,
        cone_contrast: Annotated[float, Range(above=0, high=1)] = 0.05,
        rendering: Rendering = "encoded",
        phases: Phases = "auto",
        distance: DistanceName = "euclidean",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.field_deg, self.distance, self.rendering, self.phases = field_deg, distance, rendering, phases
        self.contrasts = {MODELFEST: contrast, COLORFEST: cone_contrast}
        most = min(largest_contrast(tuple(a), tuple(b)) for a, b in _colors(colorfest()))
        if cone_contrast > most:
            raise UserError(
                option_problem(
                    self.key, "cone_contrast", f"cone_contrast is {cone_contrast:g}; sRGB shows at most {most:.3f}"
                )
            )
        self._prepare(256, (0.0,))  # the size of the original images, until a model is known

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose the gratings that the model's pixels can carry, and evaluate the pixel baselines on the same."""
        twice = self.phases == "both" or (self.phases == "auto" and model.patch_size is not None)
        self._prepare(model.image_size, (0.0, 90.0) if twice else (0.0,))
        if self.rows:
            self._add_references()
            return None
        return (
            f"at {model.image_size} px over {self.field_deg:g} degrees, fewer than {FEWEST} gratings of either set are "
            f"below the Nyquist frequency of {model.image_size / self.field_deg / 2:.3g} cycles/degree; a smaller "
            "field_deg has more"
        )

    def _prepare(self, size: int, phases: tuple[float, ...]) -> None:
        self.size, self.phases_deg = size, phases
        sets = {MODELFEST: modelfest(), COLORFEST: colorfest()}
        shown = {name: np.flatnonzero(below_nyquist(of.frequency, size, self.field_deg)) for name, of in sets.items()}
        self.left_out = {f"{name}_left_out": float(len(sets[name]) - len(rows)) for name, rows in shown.items()}
        self.rows = {name: rows for name, rows in shown.items() if len(rows) >= FEWEST}
        self.scores = tuple(_scores(sets, shown, self.distance))

    def _add_references(self) -> None:
        """Add the scores of formulas on the same gratings."""
        baselines = baselines_by_score(self, {"pixel RMSE": ColorDistance()})
        control: dict[str, dict[str, float]] = {}
        if MODELFEST in self.rows:
            every = self.rows
            self.rows = {MODELFEST: every[MODELFEST]}  # it is a model of luminance alone
            control = baselines_by_score(self, {"Watson & Ahumada 2005": WatsonAhumada(self.field_deg)})
            self.rows = every
        self.scores = tuple(
            replace(
                score,
                baselines={**baselines.get(score.name, {}), **score.baselines},
                context=control.get(score.name, {}),
                context_source=POSITIVE_CONTROL if score.name in control else "",
            )
            for score in self.scores
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """The uniform fields, and each grating in each phase."""
        made: set[str] = set()
        for name, row in self._gratings():
            contrast = self.contrasts[name]
            images = [(self._field_id(name, row), 0.0, 0.0)]
            images += [(self._id(name, row, phase), contrast, phase) for phase in self.phases_deg]
            for id_, shown, phase in images:
                if id_ not in made:  # gratings have a field in common
                    made.add(id_)
                    yield Stimulus(id_, self._load(name, row, shown, phase), "native")

    def pairs(self) -> list[tuple[str, str]]:
        """The uniform field with each grating, all phases of a grating in a row."""
        return [
            (self._field_id(name, row), self._id(name, row, phase))
            for name, row in self._gratings()
            for phase in self.phases_deg
        ]

    def items(self, features: Features) -> Items:
        """One item per grating: log10 sensitivities of the model, by distance, and of the observers on average."""
        names, rows = zip(*self._gratings(), strict=True)
        sets = {MODELFEST: modelfest(), COLORFEST: colorfest()}
        contrast = np.array([self.contrasts[name] for name in names])
        with np.errstate(divide="ignore"):  # minus infinity for a grating that the model does not see
            model = {
                name: np.log10(distance.reshape(len(rows), -1).mean(axis=1) / contrast)
                for name, distance in lengths(features, self.distance).items()
            }
        notes = dict(self.left_out)
        if isinstance(features.pairs, PairDifferences):
            notes["dropped_features"] = float(features.pairs.divisor.dropped)

        def column(of: Callable[[Gratings], Any]) -> list[Any]:
            return [of(sets[name])[row] for name, row in zip(names, rows, strict=True)]

        return Items(
            model,
            column(lambda of: of.human),
            column(lambda of: of.ids),
            {"grating": column(lambda of: of.ids)},
            {
                "set": list(names),
                "direction": column(lambda of: of.direction),
                "frequency": column(lambda of: of.frequency),
                "sigma": column(lambda of: of.sigma),
            },
            notes,
        )

    def _gratings(self) -> list[tuple[str, int]]:
        """(set, row) of the gratings shown."""
        return [(name, row) for name, rows in self.rows.items() for row in rows.tolist()]

    def _load(self, name: str, row: int, contrast: float, phase: float) -> partial[NDArray[np.float32]]:
        of = modelfest() if name == MODELFEST else colorfest()
        frequency, sigma = float(of.frequency[row]), float(of.sigma[row])
        if name == MODELFEST:
            return partial(
                luminance_gabor, self.size, self.field_deg, frequency, sigma, contrast, self.rendering, phase
            )
        colors = of.background[row].tolist(), of.cones[row].tolist()
        return partial(color_gabor, self.size, self.field_deg, frequency, sigma, contrast, *colors, phase)

    def _field_id(self, name: str, row: int) -> str:
        # a field looks alike at every field of view, but is an image of its own at each size
        how = self.rendering if name == MODELFEST else "_".join(f"{v:.6g}" for v in colorfest().background[row])
        return f"contrast_sensitivity/{self.size}/{name}_field/{how}"

    def _id(self, name: str, row: int, phase: float) -> str:
        of = modelfest() if name == MODELFEST else colorfest()
        how = f"/{self.rendering}" if name == MODELFEST else ""
        options = f"{self.size}/{self.field_deg:g}/{self.contrasts[name]:g}{how}/{phase:g}"
        return f"contrast_sensitivity/{options}/{of.ids[row]}"


def _colors(of: Gratings) -> Iterator[tuple[list[float], list[float]]]:
    yield from zip(of.background.tolist(), of.cones.tolist(), strict=True)


def _undefined(items: Items, reason: str) -> Estimate:
    return undefined(reason)


def _estimate(
    items: Items,
    statistic: Statistic,
    of: str,
    directions: tuple[str, ...] = (),
    value: str | None = None,
    step: float = MODELFEST_STEP,
) -> Estimate:
    """Agreement over the gratings of a set, or its mean over some directions of color.

    Args:
        items: of all sets.
        statistic: the correlation.
        of: name of the set.
        directions: none: all gratings together.
        value: name of the distance; None: the headline one.
        step: to which the model's log10 sensitivities are rounded.
    """
    of_set, direction = items.conditions["set"] == of, items.conditions["direction"]
    kept = items.where(of_set & np.isin(direction, directions) if directions else of_set)
    if not len(kept):  # while a formula for one of the sets is evaluated
        return undefined(f"no gratings of {of}")
    raw = kept.model[value] if value else next(iter(kept.model.values()))
    unseen = int(np.isneginf(raw).sum())
    if unseen:
        return undefined(f"{unseen} of {len(kept)} gratings do not differ from the uniform field for the model")
    model = with_ties(raw, step)
    groups = [kept.conditions["direction"] == name for name in directions] or [np.ones(len(kept), bool)]
    if np.isfinite(model).all() and any(model[group].min() == model[group].max() for group in groups):
        where = " of a direction" if directions else ""
        return undefined(f"no differential sensitivity: all gratings{where} are alike, to {step:g} log10 units")

    def agreement(rows: NDArray[np.intp], human: NDArray[np.float64]) -> float:
        chosen = np.isin(np.arange(len(model)), rows)
        return float(np.mean([statistic(model[chosen & group], human[chosen & group]) for group in groups]))

    return crossed_with_observers(agreement, model, thresholds_of(kept.ids))


def _scores(
    sets: Mapping[str, Gratings], shown: Mapping[str, NDArray[np.intp]], distance: DistanceName
) -> Iterator[Score]:
    """The scores of the gratings shown; the first set with enough of them has the headline."""
    headline = next((name for name, rows in shown.items() if len(rows) >= FEWEST), MODELFEST)
    for of, prefix, title, step in (
        (MODELFEST, "", "", MODELFEST_STEP),
        (COLORFEST, "colorfest_", "color, ", COLORFEST_STEP),
    ):
        for name, (label, statistic) in STATISTICS.items():
            score = _score(prefix + name, title + label, sets[of], shown[of], statistic=statistic, of=of, step=step)
            if len(shown[of]) < FEWEST:
                yield score
                continue
            ceiling = observer_ceiling(statistic, sets[of].observers[shown[of]])
            score = replace(score, ceilings={"one observer, the others' mean": ceiling})
            if name == "srocc":
                level = {"5 % level of chance": _critical(len(shown[of]))}
                score = replace(score, baselines=level, role="headline" if of == headline else "companion")
            yield score
        for other in others(distance):
            label = f"{title}SROCC, {other.replace('_', ' ')}"
            yield _score(f"{prefix}srocc_{other}", label, sets[of], shown[of], of=of, step=step, value=other)
    color = sets[COLORFEST], shown[COLORFEST]
    label = "color, SROCC, mean of three directions"
    yield _score("colorfest_shape_srocc", label, *color, of=COLORFEST, directions=DIRECTIONS)
    for name in DIRECTIONS:
        label = f"color, SROCC, {name.replace('_', '-')}"
        yield _score(f"colorfest_{name}_srocc", label, *color, of=COLORFEST, directions=(name,))


def _score(
    name: str,
    label: str,
    gratings: Gratings,
    shown: NDArray[np.intp],
    statistic: Statistic = correlation.srocc,
    directions: tuple[str, ...] = (),
    **more: Any,
) -> Score:
    """A score over the gratings of a set, null where fewer than eight are shown.

    Args:
        name, label: of the score.
        gratings: the set.
        shown: rows of those below the Nyquist frequency.
        statistic: the correlation.
        directions: those that it is the mean of; none: all gratings together.
        more: further arguments of `_estimate`.
    """
    every = gratings.direction[:, None] == directions if directions else np.ones((len(gratings), 1), bool)
    n, total = every[shown].sum(axis=0), every.sum(axis=0)  # of each direction
    compute = partial(_estimate, statistic=statistic, directions=directions, **more)
    if n.min() < FEWEST:
        where = " of a direction" if len(directions) > 1 else ""
        reason = (
            f"{n.min()} of {total[n.argmin()]} gratings{where} are below the Nyquist frequency, {FEWEST} are needed"
        )
        compute = partial(_undefined, reason=reason)
    observers = gratings.observers.shape[1]
    return Score(
        name,
        label,
        compute,
        direction="higher = more sensitive to the gratings that people are more sensitive to",
        chance=0.0,
        unit=f"{n.sum()} of {total.sum()} gratings x {observers} observers, jackknife of both, Fisher z, t",
        axis=(-1.0, 1.0),
        higher_is_better=True,
    )


def _critical(n: int) -> float:
    """The correlation of n items beyond which chance leads in one case of twenty, two-sided (by Student's t)."""
    t = t95(n - 2)
    return float(t / np.sqrt(n - 2 + t**2))
