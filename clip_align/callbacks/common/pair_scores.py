# SPDX-License-Identifier: Apache-2.0
"""Scores of benchmarks whose items are rated pairs: a correlation over items with a jackknife interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import MOST_GROUPS, jackknife, two_way_jackknife
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.score import Score
from clip_align.metrics.correlation import (
    content_srocc,
    krocc,
    level_shuffled,
    plcc,
    srocc,
    why_undefined,
    within_level_srocc,
)
from clip_align.metrics.deletions import srocc_deletions, within_level_srocc_deletions
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.logistic_fit import best_logistic, plcc_fitted, why_not_fitted
from clip_align.perception.distances import DISTANCES, DistanceName, PairDifferences
from clip_align.perception.observers import Observer, PairSet

__all__ = [
    "Labels",
    "judged",
    "minus_distances",
    "others",
    "over_items",
    "rated_pair_scores",
]

Labels = Callable[[Items], NDArray[np.generic]]
ORDER = "higher = the model's distances order the pairs more like people's opinions"
# what computes all deletions of a jackknife at once, for the statistics that most scores are
DELETIONS: Mapping[Callable[..., float], Callable[..., NDArray[np.float64]]] = {
    srocc: srocc_deletions,
    within_level_srocc: within_level_srocc_deletions,
}
NO_SPREAD = "within one group of items all values are equal"


def over_items(
    statistic: Callable[..., float], labels: Labels | None = None, value: str | None = None, two_way: bool = False
) -> Callable[[Items], Estimate]:
    """The ``compute`` of a score that is a statistic in [-1, 1] with a jackknife interval.

    Args:
        statistic: ``(model [N], human [N])`` -> float, or ``(model, human, labels [N])`` with ``labels``.
        labels: from the items to the groups of the statistic, such as levels.
        value: name of the model's values; None: the headline ones.
        two_way: the interval is over the first two kinds of clusters, else over the first one.

    The score is undefined for constant or non-finite values and for fewer than three items.
    """
    return partial(_estimate, statistic, labels, value, two_way)  # can be pickled, unlike a closure


def _estimate(
    statistic: Callable[..., float], labels: Labels | None, value: str | None, two_way: bool, items: Items
) -> Estimate:
    model = items.model[value] if value else next(iter(items.model.values()))  # the headline value comes first
    reason = why_undefined(model, items.human)
    if reason:
        return undefined(reason)
    # all [N]; resampling takes the same rows of each
    columns = (model, items.human, labels(items)) if labels else (model, items.human)
    clusters = list(items.clusters.values())

    def kept(rows: NDArray[np.intp]) -> float:
        return statistic(*(column[rows] for column in columns))

    at_once = DELETIONS.get(statistic)
    deletions = partial(at_once, *columns) if at_once else None
    if two_way:
        return two_way_jackknife(kept, clusters[0], clusters[1], NO_SPREAD, deletions)
    return jackknife(kept, clusters[0], NO_SPREAD, deletions=deletions)


def minus_distances(
    features: Features, headline: DistanceName
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Model values and notes of items that are pairs.

    Returns:
        Minus the distances [P] by name, the headline one first: higher = more similar. And the note
        ``dropped_features``, the number of features that the normalized distance ignores (not for observers without
        features).
    """
    pairs = features.pairs
    model: dict[str, NDArray[np.float64]] = {n: -pairs.distance(n) for n in (headline, *others(headline))}
    return model, {"dropped_features": float(pairs.divisor.dropped)} if isinstance(pairs, PairDifferences) else {}


def rated_pair_scores(
    distance: DistanceName, references: int, types: int, levels: bool = True, of_images: bool = True
) -> list[Score]:
    """The scores of distorted images with people's opinions, without reference values.

    Items have the clusters ``reference`` and ``type``, in this order, and with ``levels`` the condition ``level``.

    Args:
        distance: the headline one; the others have scores of their own names.
        references: number of them, over which intervals are.
        types: number of types of distortion.
        levels: types have common levels of strength.
        of_images: each image has opinions of its own; False: all images of a type and level have the same one.
    """
    bundled = f" in {MOST_GROUPS} bundles" if references > MOST_GROUPS else ""
    degrees = min(references, MOST_GROUPS) - 1
    unit = f"{references} references{bundled} (new images, these distortions), jackknife, t({degrees})"
    crossed = (
        f"{references} references{bundled} x {types} types (other distortions too), two-way jackknife, Fisher z, "
        f"t({min(degrees, types - 1)})"
    )
    # axis: scores of trained models are positive; a little room below 0 for those that are not
    detail = partial(Score, direction=ORDER, chance=0.0, unit=unit, axis=(-0.2, 1.0), higher_is_better=True)
    two_way = partial(detail, unit=crossed)
    scores = [
        detail("srocc", "SROCC", over_items(srocc), role="headline", has_verdict=True, by="type"),
        *(_level_scores(detail, of_images) if levels else ()),
        detail("plcc", "PLCC", over_items(plcc)),
        detail("krocc", "KROCC (tau-b)", over_items(krocc)),
        detail(
            "plcc_fitted",
            "PLCC after a logistic fit",
            _fitted,
            direction="higher = opinions lie closer to a curve of the model's distances; fitted to these very pairs",
        ),
        detail(
            "within_reference_srocc",
            "SROCC within a reference",
            _within_reference,
            direction="higher = the distorted versions of one image are ordered more like people's opinions",
            by="reference",
        ),
    ]
    if types > 1:
        scores.append(two_way("srocc_two_way", "SROCC, other distortions too", over_items(srocc, two_way=True)))
    if types > 1 and levels:
        within = over_items(within_level_srocc, _level, two_way=True)
        scores.append(two_way("within_level_srocc_two_way", "SROCC within a level, other distortions too", within))
    # the rank correlation by each distance but the headline one
    return scores + [
        detail(f"srocc_{name}", f"SROCC, {name.replace('_', ' ')}", over_items(srocc, value=name))
        for name in others(distance)
    ]


def judged(observers: Mapping[str, Observer], pairs: PairSet) -> dict[str, dict[str, float]]:
    """Values of the rank correlations that observers without a model reach, by score and label.

    Undefined ones are left out.

    Args:
        observers: by label.
        pairs: their labels have the column ``level`` where types have common levels.
    """
    labels = pairs.labels()
    found: dict[str, dict[str, float]] = {}
    for label, observer in observers.items():
        values = -observer.distances(pairs)
        scores = {"srocc": srocc(values, labels.human), "krocc": krocc(values, labels.human)}
        if "level" in labels.columns:
            scores["within_level_srocc"] = within_level_srocc(values, labels.human, labels.columns["level"])
        for name, value in scores.items():
            if math.isfinite(value):
                found.setdefault(name, {})[label] = value
    return found


def _level_scores(detail: Callable[..., Score], of_images: bool) -> list[Score]:
    """Scores that tell the strength of a distortion from everything else."""
    things = "types and images" if of_images else "types"
    scores = [
        detail(
            "within_level_srocc",
            "SROCC within a level",
            over_items(within_level_srocc, _level),
            direction=f"higher = at equal level, {things} are ordered more like people's opinions",
            role="companion",
        ),
        detail(
            "level_shuffled",
            "SROCC, opinions shuffled in a level",
            over_items(level_shuffled, _level),
            direction="what knowing the strength alone gives this model; srocc is to be read above it",
            higher_is_better=None,
        ),
    ]
    if of_images:  # what is left once the distortion is known
        content = over_items(content_srocc, _condition)
        meaning = "higher = under one condition, images are ordered more like people's opinions"
        scores.insert(1, detail("content_srocc", "SROCC of images", content, direction=meaning))
    return scores


def _fitted(items: Items) -> Estimate:
    """PLCC after a logistic fit; the jackknife keeps slope and centre of the fit to all items."""
    model, human = next(iter(items.model.values())), items.human
    reason = why_not_fitted(model, human)
    if reason:
        return undefined(reason)
    logistic = best_logistic(model, human)
    return jackknife(lambda rows: plcc_fitted(model[rows], human[rows], logistic[rows]), _reference(items))


def _within_reference(items: Items) -> Estimate:
    """Mean SROCC within a reference. The jackknife leaves out references: each has its correlation computed once."""
    model = next(iter(items.model.values()))
    reason = why_undefined(model, items.human)
    if reason:
        return undefined(reason)
    references = _reference(items)
    values = np.array([srocc(model[references == r], items.human[references == r]) for r in np.unique(references)])
    return jackknife(
        lambda kept: float(values[kept].mean()) if len(kept) else math.nan, np.arange(len(values)), NO_SPREAD
    )


def _reference(items: Items) -> NDArray[np.generic]:
    return items.clusters["reference"]


def _level(items: Items) -> NDArray[np.generic]:
    return items.conditions["level"]


def _condition(items: Items) -> NDArray[np.generic]:
    return np.asarray(
        np.strings.add(np.strings.add(items.clusters["type"].astype(str), " "), _level(items).astype(str))
    )


def others(headline: DistanceName) -> list[DistanceName]:
    """The names of all distances but ``headline``."""
    return [name for name in DISTANCES if name != headline]
