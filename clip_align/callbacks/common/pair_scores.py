# SPDX-License-Identifier: Apache-2.0
"""Scores of benchmarks whose items are rated pairs: a correlation over items with a jackknife interval."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import jackknife, two_way_jackknife
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.score import Score
from clip_align.metrics.correlation import content_srocc, level_shuffled, srocc, why_undefined
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.perception.distances import DISTANCES, DistanceName, PairDifferences

__all__ = [
    "Labels",
    "beyond_level",
    "by_other_distances",
    "level_of",
    "minus_distances",
    "others",
    "over_items",
]

Labels = Callable[[Items], NDArray[np.generic]]
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

    if two_way:
        return two_way_jackknife(kept, clusters[0], clusters[1], NO_SPREAD)
    return jackknife(kept, clusters[0], NO_SPREAD)


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


def level_of(items: Items) -> NDArray[np.generic]:
    """The level of each item [N]."""
    return items.conditions["level"]


def beyond_level(detail: Callable[..., Score]) -> tuple[Score, Score]:
    """What is left once the distortion is known, and what its strength alone gives: scores of items with types and
    levels.

    ``detail``: makes a score of a name, a label, what computes it, and further fields.
    """
    return (
        detail(
            "content_srocc",
            "SROCC of images",
            over_items(content_srocc, _condition),
            direction="higher = under one condition, images are ordered more like people's opinions",
        ),
        detail(
            "level_shuffled",
            "SROCC, opinions shuffled in a level",
            over_items(level_shuffled, level_of),
            direction="what knowing the strength alone gives this model; srocc is to be read above it",
            higher_is_better=None,
        ),
    )


def by_other_distances(detail: Callable[..., Score], headline: DistanceName) -> tuple[Score, ...]:
    """The rank correlation by each distance but the headline one; ``detail``: see `beyond_level`."""
    return tuple(
        detail(f"srocc_{name}", f"SROCC, {name.replace('_', ' ')}", over_items(srocc, value=name))
        for name in others(headline)
    )


def _condition(items: Items) -> NDArray[np.generic]:
    return np.asarray(
        np.strings.add(np.strings.add(items.clusters["type"].astype(str), " "), level_of(items).astype(str))
    )


def others(headline: DistanceName) -> list[DistanceName]:
    """The names of all distances but ``headline``."""
    return [name for name in DISTANCES if name != headline]
