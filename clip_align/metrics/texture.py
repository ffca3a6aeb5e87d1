# SPDX-License-Identifier: Apache-2.0
"""Texture bias: do decisions about cue-conflict images follow the shape or the texture?

Raw bias T/(S+T) as in Geirhos et al., ICLR 2019 (1 minus their shape bias): S, T = decisions for the shape's, the
texture's class; images whose two classes agree hold no conflict and are left out. 0 = shape, 1 = texture, .5 = no
preference, and also what guessing gives: therefore the corrected bias, the hits beside it, and the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.accuracy import why_no_decisions, wilson
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import Statistic, cluster_sums, crossed_jackknife_of_sums

__all__ = [
    "CueCounts",
    "counts",
    "shape_hits",
    "texture_bias",
    "texture_bias_corrected",
    "texture_hits",
    "why_gate_closed",
]

FEWEST_HITS = 0.25  # (S+T)/n below this: the decisions hardly follow either cue
LARGEST_FRACTION = 0.9  # of the decisions in one class: a collapsed model has a bias of exactly .5
WIDEST = 0.4  # width of the 95 % interval of the corrected bias up to which it is reported
NO_INTERVAL = "no interval: too few class pairs"


@dataclass(frozen=True)
class CueCounts:
    """Numbers of decisions about the n conflict images.

    ``shape``, ``texture``: for the class of either cue; ``neither``: all others, of which ``no_answer`` (-1).
    """

    shape: int
    texture: int
    neither: int
    no_answer: int

    @property
    def n(self) -> int:
        """All conflict images."""
        return self.shape + self.texture + self.neither


def counts(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike) -> CueCounts:
    """Counts over the images whose shape and texture differ.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.

    ValueError for lists of unequal length.
    """
    c, s, t = _conflict(choice, shape, texture)
    for_shape, for_texture = int(np.count_nonzero(c == s)), int(np.count_nonzero(c == t))
    return CueCounts(for_shape, for_texture, len(c) - for_shape - for_texture, int(np.count_nonzero(c < 0)))


def shape_hits(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, clusters: Sequence[ArrayLike] = ()) -> Estimate:
    """S/n, the fraction of decisions for the shape, with its interval over class pairs or ``clusters``; chance 1/K.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        clusters: labels [N] that the interval resamples, one or two crossed kinds; none: the ordered class pairs.

    Undefined without conflict images or decisions.
    """
    return _hits(choice, shape, texture, 0, clusters)


def texture_hits(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, clusters: Sequence[ArrayLike] = ()
) -> Estimate:
    """T/n, the fraction of decisions for the texture, with its interval over class pairs or ``clusters``; chance 1/K.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        clusters: labels [N] that the interval resamples, one or two crossed kinds; none: the ordered class pairs.

    Undefined without conflict images or decisions.
    """
    return _hits(choice, shape, texture, 1, clusters)


def texture_bias(
    choice: ArrayLike,
    shape: ArrayLike,
    texture: ArrayLike,
    classes: int,
    clusters: Sequence[ArrayLike] = (),
) -> Estimate:
    """T/(S+T) in [0, 1], as published (Geirhos et al. 2019), with its interval over class pairs or ``clusters``.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among.
        clusters: labels [N] that the interval resamples, one or two crossed kinds; none: the ordered class pairs.

    Undefined while this evaluation's own gate is closed (``why_gate_closed``). Guesses pull it to .5, by less and less
    while a model learns: see ``texture_bias_corrected`` before reading a trend.
    """
    reason = why_gate_closed(choice, shape, texture, classes)
    if reason:
        return undefined(reason)

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        both = sums[..., 0] + sums[..., 1]
        return np.where(both > 0, sums[..., 1] / np.where(both > 0, both, 1.0), np.nan)

    return _estimate(statistic, choice, shape, texture, clusters)


def texture_bias_corrected(
    choice: ArrayLike,
    shape: ArrayLike,
    texture: ArrayLike,
    classes: int,
    clusters: Sequence[ArrayLike] = (),
) -> Estimate:
    """(T - g)/(S + T - 2g), where g = N/(K - 2) decisions for each cue are guesses, estimated from the N for neither.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among; ValueError below 3.
        clusters: labels [N] that the interval resamples, one or two crossed kinds; none: the ordered class pairs.

    Not forced into [0, 1]: an unbiased estimate may leave it. Undefined while the gate is closed, where nothing is
    left beyond guesses, and while its 95 % interval is wider than .4.
    """
    if classes < 3:
        raise ValueError(f"the correction needs at least 3 classes, got {classes}")
    reason = why_gate_closed(choice, shape, texture, classes)
    if reason:
        return undefined(reason)

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        s, t, guesses = sums[..., 0], sums[..., 1], sums[..., 2] / (classes - 2)
        beyond = s + t - 2 * guesses
        return np.where(beyond > 0, (t - guesses) / np.where(beyond > 0, beyond, 1.0), np.nan)

    estimate = _estimate(statistic, choice, shape, texture, clusters)
    if estimate.low is not None and estimate.high is not None and estimate.high - estimate.low > WIDEST:
        return undefined(f"its 95 % interval is {estimate.high - estimate.low:.2f} wide; drawn when below {WIDEST}")
    return estimate


def why_gate_closed(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, classes: int) -> str | None:
    """Why a bias is not interpretable at this evaluation, in words; None where the gate is open.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among.

    Open when at least a quarter of the decisions are for one of the two cues, the lower bound of that fraction over
    class pairs exceeds chance (2/K), and no class takes 90 % of the decisions.
    """
    c, s, t = _conflict(choice, shape, texture)
    reason = why_no_decisions(c)
    if reason:
        return reason
    decisions = np.bincount(c[c >= 0].astype(np.intp), minlength=1)  # by class, without -1
    if decisions.max() >= LARGEST_FRACTION * decisions.sum():
        return f"one class takes {100 * decisions.max() / decisions.sum():.0f} % of the decisions"
    hits = _fraction((c == s) | (c == t), [_pairs(s, t)])
    if hits.value is None or hits.value < FEWEST_HITS:
        return (
            f"only {100 * (hits.value or 0):.0f} % of the decisions name the shape or the texture; "
            f"a bias needs {100 * FEWEST_HITS:.0f} %"
        )
    if hits.low is None:
        return NO_INTERVAL
    if hits.low <= 2 / classes:
        named, chance = 100 * hits.value, 200 / classes
        return f"the fraction of decisions that name a cue ({named:.0f} %) is not above chance ({chance:.1f} %)"
    return None


def _hits(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, cue: int, clusters: Sequence[ArrayLike]) -> Estimate:
    c, *cues = _conflict(choice, shape, texture)
    reason = why_no_decisions(c)
    if reason:
        return undefined(reason)
    return _fraction(c == cues[cue], _kinds(shape, texture, clusters))


def _fraction(hit: NDArray[np.bool_], kinds: Sequence[NDArray[Any]]) -> Estimate:
    """Fraction of hits, its interval over clusters: none for one cluster, Wilson's where a jackknife has no width."""
    columns = np.column_stack((hit, np.ones(len(hit))))
    half = crossed_jackknife_of_sums(lambda v: v[..., 0] / v[..., 1], [cluster_sums(columns, of) for of in kinds])
    value = float(hit.mean())
    if half is None:
        return Estimate(value)
    low, high = wilson(int(hit.sum()), len(hit)) if half == 0 else (value - half, value + half)
    return Estimate(value, max(0.0, low), min(1.0, high))


def _estimate(
    statistic: Statistic,
    choice: ArrayLike,
    shape: ArrayLike,
    texture: ArrayLike,
    clusters: Sequence[ArrayLike],
) -> Estimate:
    c, s, t = _conflict(choice, shape, texture)
    other = (c != s) & (c != t) & (c >= 0)  # no decision is no guess
    columns = np.column_stack((c == s, c == t, other))
    value = float(statistic(columns.sum(axis=0, dtype=np.float64)))
    if not np.isfinite(value):
        return undefined("nothing is left of the decisions for shape and texture beyond guesses")
    kinds = _kinds(shape, texture, clusters)
    half = crossed_jackknife_of_sums(statistic, [cluster_sums(columns, of) for of in kinds])
    if half is None:
        return undefined("no interval: too few clusters" if clusters else NO_INTERVAL)
    if half == 0:  # the bias of all class pairs is 0, or 1: the jackknife has no width there
        low, high = wilson(int((c == t).sum()), int(((c == s) | (c == t)).sum()))
        # Wilson's interval is that of the raw bias, and need not hold the corrected value
        return Estimate(value, min(value, low), max(value, high))
    return Estimate(value, value - half, value + half)


def _kinds(shape: ArrayLike, texture: ArrayLike, clusters: Sequence[ArrayLike]) -> list[NDArray[Any]]:
    """Labels of the conflict images [n] for each kind of clusters; the class pairs if none is given."""
    s, t = (np.asarray(v).astype(np.int64) for v in (shape, texture))
    if len(clusters) > 2:
        raise ValueError(f"an interval over one or two kinds of clusters, not {len(clusters)}")
    labels = [np.asarray(of) for of in clusters] or [_pairs(s, t)]
    wrong = [of.shape for of in labels if of.shape != s.shape]
    if wrong:
        raise ValueError(f"clusters must be lists of one label for each of the {len(s)} images, got {wrong[0]}")
    return [of[s != t] for of in labels]


def _conflict(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike) -> list[NDArray[np.int64]]:
    c, s, t = (np.asarray(v).astype(np.int64) for v in (choice, shape, texture))
    if not c.shape == s.shape == t.shape or c.ndim != 1:
        raise ValueError(f"choice, shape and texture must be lists of one length, got {c.shape}, {s.shape}, {t.shape}")
    differ = s != t
    return [v[differ] for v in (c, s, t)]


def _pairs(shape: NDArray[np.int64], texture: NDArray[np.int64]) -> NDArray[np.int64]:
    """One label for each ordered (shape, texture) pair of classes: the unit of the intervals."""
    return shape * (int(texture.max(initial=0)) + 1) + texture
