# SPDX-License-Identifier: Apache-2.0
"""Scores of benchmarks that compare a model's sensitivity with thresholds of single observers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import leave_one_out
from clip_align.callbacks.common.pair_scores import others, over_items
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.metrics.correlation import srocc, why_undefined
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import delete_one_variance, t95
from clip_align.perception.distances import DistanceName, PairDifferences

__all__ = ["Agreement", "crossed_with_observers", "lengths", "observer_ceiling", "visibility"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
# (rows of the stimuli kept, human values of all stimuli) -> correlation of the model's values with them
Agreement = Callable[[Rows, Array], float]
NEARLY_ONE = 1 - 1e-12  # Fisher's z is infinite at 1


def lengths(features: Features, headline: DistanceName) -> dict[str, Array]:
    """Distances [P] of the pairs by name, the headline one first, all in proportion to a small change of the image.

    1 - cosine grows with the square of a change: in its place stands the chord between the unit vectors, which is
    ordered alike.
    """
    pairs = features.pairs
    by_name: dict[str, Array] = {name: pairs.distance(name) for name in (headline, *others(headline))}
    if isinstance(pairs, PairDifferences):  # an observer's distance is the same under every name
        by_name["cosine"] = np.sqrt(2 * by_name["cosine"])
    return by_name


def visibility(items: Items, condition: str, too_coarse: str) -> Estimate:
    """Rank correlation of the multiples of the human threshold with the model's distances, under one condition.

    Args:
        items: with the condition ``condition``, and the multiples as human values.
        condition: of the items that count.
        too_coarse: reason where there are none of it.
    """
    kept = items.where(items.conditions["condition"] == condition)
    return over_items(srocc)(kept) if len(kept) else undefined(too_coarse)


def crossed_with_observers(agreement: Agreement, model: Array, observers: Array) -> Estimate:
    """Agreement of the model with the observers' mean, with its interval for new stimuli and new observers.

    Args:
        agreement: a correlation in [-1, 1], NaN where undefined.
        model: values [N] of the stimuli.
        observers: human values [N, O], NaN where an observer was not tested.

    Jackknife variances of stimuli and of observers, each left out one at a time, are added on the scale of Fisher's z;
    t with Satterthwaite's degrees of freedom, since there may be three observers. No interval where a deletion has no
    value, and at a correlation of +-1. Undefined for constant or non-finite values.
    """
    human = np.nanmean(observers, axis=1)
    every = np.arange(len(model))
    reason = why_undefined(model, human)
    if reason:
        return undefined(reason)
    value = agreement(every, human)
    if not math.isfinite(value):
        return undefined("no differential sensitivity: the values of one group are equal")
    if abs(value) >= NEARLY_ONE:
        return Estimate(value)
    deleted = [leave_one_out(lambda kept: agreement(kept, human), every), _without_each(agreement, observers)]
    variances = [delete_one_variance(np.arctanh(np.clip(v, -NEARLY_ONE, NEARLY_ONE))) for v in deleted]
    known = [v for v in variances if v is not None]
    if len(known) < len(variances) or not sum(known):
        return Estimate(value)
    degrees = sum(known) ** 2 / sum(v**2 / (len(d) - 1) for v, d in zip(known, deleted, strict=True))
    half = t95(degrees) * math.sqrt(sum(known))
    z = math.atanh(value)
    return Estimate(value, math.tanh(z - half), math.tanh(z + half))


def observer_ceiling(statistic: Callable[[Array, Array], float], observers: Array) -> float:
    """Mean over the observers of the agreement of one with the mean of the others.

    Args:
        statistic: (one observer, mean of the others) -> correlation.
        observers: values [N, O], NaN where an observer was not tested.
    """
    values = []
    for one in range(observers.shape[1]):
        others_mean = _mean(np.delete(observers, one, axis=1))
        both = np.isfinite(others_mean) & np.isfinite(observers[:, one])
        values.append(statistic(observers[both, one], others_mean[both]))
    return float(np.mean(values))


def _without_each(agreement: Agreement, observers: Array) -> Array:
    """The agreement without each observer, over the stimuli that the others were tested with."""
    left = []
    for one in range(observers.shape[1]):
        human = _mean(np.delete(observers, one, axis=1))
        left.append(agreement(np.flatnonzero(np.isfinite(human)), human))
    return np.array(left)


def _mean(observers: Array) -> Array:
    """Mean [N] over the observers tested, NaN where none was (without NumPy's warning)."""
    tested = np.isfinite(observers)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(tested, observers, 0).sum(axis=1) / tested.sum(axis=1))
