# SPDX-License-Identifier: Apache-2.0
"""Texture bias: do decisions about cue-conflict images follow the shape or the texture?

Raw bias T/(S+T) as in Geirhos et al., ICLR 2019 (1 minus their shape bias): S, T = decisions for the shape's, the
texture's class; images whose two classes agree hold no conflict and are left out. 0 = shape, 1 = texture, .5 = no
preference, and also what guessing gives: therefore the corrected bias, the hits beside it, and the gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.accuracy import why_no_decisions, wilson
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import (
    Statistic,
    cluster_sums,
    crossed_jackknife_of_sums,
    jackknife_of_sums,
    stratified_jackknife_of_sums,
)

__all__ = [
    "CueCounts",
    "bias_range",
    "counts",
    "error_dependence",
    "shape_hits",
    "texture_bias",
    "texture_bias_corrected",
    "texture_hits",
    "why_gate_closed",
]

FEWEST_HITS = 0.25  # (S+T)/n below this: the decisions hardly follow either cue
LARGEST_FRACTION = 0.9  # of the decisions in one class: a collapsed model has a bias of exactly .5
WIDEST = 0.4  # width of the 95 % interval of the corrected bias up to which it is reported
NO_INTERVAL = "no interval: too few images or classes"
FEWEST_ERRORS = 30  # below this an exchange of errors leaves hardly any other tables
BURN_IN, SWEEPS = 50, 5  # sweeps of swaps before the first exchange that counts, and from one to the next


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
    """S/n, the fraction of decisions for the shape, with an interval for new images or ``clusters``; chance 1/K.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        clusters: labels [N] that the interval resamples, one kind or two crossed ones (classes of shapes and textures,
            or exemplars that images share); none: the images within each ordered pair of classes.

    Undefined without conflict images or decisions.
    """
    return _hits(choice, shape, texture, 0, clusters)


def texture_hits(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, clusters: Sequence[ArrayLike] = ()
) -> Estimate:
    """T/n, the fraction of decisions for the texture, with its interval as in ``shape_hits``; chance 1/K.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        clusters: labels [N] that the interval resamples, one kind or two crossed ones (classes of shapes and textures,
            or exemplars that images share); none: the images within each ordered pair of classes.

    Undefined without conflict images or decisions.
    """
    return _hits(choice, shape, texture, 1, clusters)


def texture_bias(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, classes: int, clusters: Sequence[ArrayLike] = ()
) -> Estimate:
    """T/(S+T) in [0, 1], as published (Geirhos et al. 2019).

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among.
        clusters: labels [N] that the interval resamples, one kind or two crossed ones (classes of shapes and textures,
            or exemplars that images share); none: the images within each ordered pair of classes.

    Undefined while this evaluation's own gate is closed (``why_gate_closed``). Guesses pull it to .5, by less and less
    while a model learns: see ``texture_bias_corrected`` before reading a trend.
    """
    reason = why_gate_closed(choice, shape, texture, classes)
    if reason:
        return undefined(reason)

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        both = sums[..., 0] + sums[..., 1]
        return np.where(both > 0, sums[..., 1] / np.where(both > 0, both, 1.0), np.nan)

    return _estimate(statistic, choice, shape, texture, clusters, limits=(0.0, 1.0))


def texture_bias_corrected(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, classes: int, clusters: Sequence[ArrayLike] = ()
) -> Estimate:
    """(T - g)/(S + T - 2g), where g = N/(K - 2) decisions for each cue are guesses, estimated from the N for neither.

    This holds where errors ignore the image. `error_dependence` tests that, and `bias_range` bounds the bias where all
    errors are confusions of one cue.

    Args:
        choice: decisions [N], class indices; -1 = no decision.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        classes: K, the number of classes that the model chooses among; ValueError below 3.
        clusters: labels [N] that the interval resamples, one kind or two crossed ones (classes of shapes and textures,
            or exemplars that images share); none: the images within each ordered pair of classes.

    Not forced into [0, 1]: an unbiased estimate may leave it. Undefined while the gate is closed, where nothing is
    left beyond guesses, and while its 95 % interval over class pairs is wider than .4.
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

    c, s, t = _conflict(choice, shape, texture)
    over_pairs = jackknife_of_sums(statistic, cluster_sums(_columns(c, s, t), _pairs(s, t)))
    if over_pairs is not None and 2 * over_pairs > WIDEST:
        return undefined(f"its 95 % interval over class pairs is {2 * over_pairs:.2f} wide; drawn when below {WIDEST}")
    return _estimate(statistic, choice, shape, texture, clusters)


def bias_range(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike) -> tuple[float, float]:
    """The texture bias if all errors were confusions of shapes, and if all were confusions of textures.

    An error (a decision for neither cue's class) may follow the shape and take it for that of a third class, or follow
    the texture in the same way: T/n and (T + errors)/n enclose what the bias would be if each error were known to be
    one or the other. NaN without decisions.

    Args:
        choice: decisions [N], class indices; -1 = no decision, left out.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
    """
    found = counts(choice, shape, texture)
    n = found.n - found.no_answer
    if n == 0:
        return float("nan"), float("nan")
    return found.texture / n, (n - found.shape) / n


def error_dependence(
    choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, *, draws: int = 100, seed: int = 0
) -> tuple[float, float] | None:
    """How strongly errors depend on the image's true shape, and on its texture: a permutation z of either.

    Errors that ignore the image are exchangeable: any of them could have been given to any other image with an error,
    unless it is the class of one of that image's own cues (it would be no error there). The observed sum of squared
    counts of the table class of the cue x decision is compared with such exchanges, drawn by a Markov chain of swaps
    that keeps this restriction (Besag and Clifford, Biometrika 1989, 633-642). About 0 with standard deviation 1 where
    errors are guesses, however unequal the classes are guessed; large where a class is mistaken for certain others.

    Args:
        choice: decisions [N], class indices; -1 = no decision, left out.
        shape: class [N] of each image's shape.
        texture: class [N] of each image's texture.
        draws: number of exchanges compared with.
        seed: of the exchanges.

    Returns:
        (z by shape, z by texture); None with fewer than 30 errors or where all exchanges give the same table.
    """
    c, s, t = _conflict(choice, shape, texture)
    errors = (c != s) & (c != t) & (c >= 0)
    c, s, t = c[errors], s[errors], t[errors]
    if len(c) < FEWEST_ERRORS:
        return None
    classes = int(max(c.max(), s.max(), t.max())) + 1
    generator = np.random.default_rng(seed)

    def table_sums() -> list[float]:
        return [float((np.bincount(cue * classes + c).astype(np.float64) ** 2).sum()) for cue in (s, t)]

    observed, drawn = table_sums(), []
    for sweep in range(BURN_IN + draws * SWEEPS):
        order = generator.permutation(len(c))
        i, j = order[: len(c) // 2], order[len(c) // 2 : len(c) // 2 * 2]  # disjoint pairs, all swapped at once
        valid = (c[i] != s[j]) & (c[i] != t[j]) & (c[j] != s[i]) & (c[j] != t[i])
        i, j = i[valid], j[valid]
        c[i], c[j] = c[j], c[i]  # the right side is copied by the indexing before either is written
        if sweep >= BURN_IN and (sweep - BURN_IN) % SWEEPS == SWEEPS - 1:
            drawn.append(table_sums())
    mean, sd = np.mean(drawn, axis=0), np.std(drawn, axis=0, ddof=1)
    if (sd == 0).any():
        return None
    by_shape, by_texture = (np.asarray(observed) - mean) / sd
    return float(by_shape), float(by_texture)


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
    hits = _over_pairs((c == s) | (c == t), _pairs(s, t))
    if hits.value is None or hits.value < FEWEST_HITS:
        return (
            f"only {100 * (hits.value or 0):.0f} % of the decisions name the shape or the texture; "
            f"a bias needs {100 * FEWEST_HITS:.0f} %"
        )
    if hits.low is None:
        return NO_INTERVAL
    if hits.low <= 2 / classes:  # two of K classes are cues
        named, chance = 100 * hits.value, 200 / classes
        return f"the fraction of decisions that name a cue ({named:.0f} %) is not above chance ({chance:.1f} %)"
    return None


def without_width(value: float, for_shape: int, for_texture: int) -> Estimate:
    """A bias whose jackknife has no width, since all decisions are for one cue: with Wilson's interval.

    Args:
        value: the bias.
        for_shape, for_texture: numbers of decisions.
    """
    low, high = wilson(for_texture, for_shape + for_texture)
    # the interval is that of the raw, pooled bias, and need not hold a corrected value or a mean
    return Estimate(value, min(value, low), max(value, high))


def _hits(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike, cue: int, clusters: Sequence[ArrayLike]) -> Estimate:
    c, *cues = _conflict(choice, shape, texture)  # cues: shape, texture [n]
    reason = why_no_decisions(c)
    if reason:
        return undefined(reason)
    hit = c == cues[cue]
    columns = np.column_stack((hit, np.ones(len(hit))))
    return _of_fraction(hit, _half_width(lambda v: v[..., 0] / v[..., 1], columns, shape, texture, clusters))


def _over_pairs(hit: NDArray[np.bool_], pairs: NDArray[np.int64]) -> Estimate:
    """Fraction of hits with its interval over class pairs."""
    sums = cluster_sums(np.column_stack((hit, np.ones(len(hit)))), pairs)
    return _of_fraction(hit, jackknife_of_sums(lambda v: v[..., 0] / v[..., 1], sums))


def _of_fraction(hit: NDArray[np.bool_], half: float | None) -> Estimate:
    """Fraction of hits, half-width given: no interval for None, Wilson's where a jackknife has no width."""
    value = float(hit.mean())
    if half is None:
        return Estimate(value)
    low, high = wilson(int(hit.sum()), len(hit)) if half == 0 else (value - half, value + half)
    return Estimate(value, max(0.0, low), min(1.0, high))


def _columns(c: NDArray[np.int64], s: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.float64]:
    """One row for each image: decided for the shape, for the texture, for neither, [N, 3]; no decision is no guess."""
    return np.column_stack((c == s, c == t, (c != s) & (c != t) & (c >= 0))).astype(np.float64)


def _estimate(
    statistic: Statistic,
    choice: ArrayLike,
    shape: ArrayLike,
    texture: ArrayLike,
    clusters: Sequence[ArrayLike],
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    c, s, t = _conflict(choice, shape, texture)
    columns = _columns(c, s, t)
    value = float(statistic(columns.sum(axis=0)))
    if not np.isfinite(value):
        return undefined("nothing is left of the decisions for shape and texture beyond guesses")
    half = _half_width(statistic, columns, shape, texture, clusters)
    if half is None:
        return undefined("no interval: too few clusters" if clusters else NO_INTERVAL)
    if half == 0:  # the bias of all images is 0, or 1: the jackknife has no width there
        return without_width(value, int((c == s).sum()), int((c == t).sum()))
    return Estimate(value, max(limits[0], value - half), min(limits[1], value + half))


def _half_width(
    statistic: Statistic,
    columns: NDArray[np.float64],
    shape: ArrayLike,
    texture: ArrayLike,
    clusters: Sequence[ArrayLike],
) -> float | None:
    """Half-width of the interval of a statistic of the conflict images' columns [n, C]; see ``shape_hits``."""
    s, t = (np.asarray(v).astype(np.int64) for v in (shape, texture))
    if len(clusters) > 2:
        raise ValueError(f"an interval over one or two kinds of clusters, not {len(clusters)}")
    kinds = [np.asarray(of) for of in clusters]
    wrong = [of.shape for of in kinds if of.shape != s.shape]
    if wrong:
        raise ValueError(f"clusters must be lists of one label for each of the {len(s)} images, got {wrong[0]}")
    differ = s != t
    if not kinds:
        return stratified_jackknife_of_sums(statistic, columns, _pairs(s[differ], t[differ]))
    return crossed_jackknife_of_sums(statistic, [cluster_sums(columns, of[differ]) for of in kinds])


def _conflict(choice: ArrayLike, shape: ArrayLike, texture: ArrayLike) -> list[NDArray[np.int64]]:
    c, s, t = (np.asarray(v).astype(np.int64) for v in (choice, shape, texture))
    if not c.shape == s.shape == t.shape or c.ndim != 1:
        raise ValueError(f"choice, shape and texture must be lists of one length, got {c.shape}, {s.shape}, {t.shape}")
    differ = s != t
    return [v[differ] for v in (c, s, t)]


def _pairs(shape: NDArray[np.int64], texture: NDArray[np.int64]) -> NDArray[np.int64]:
    """One label for each ordered (shape, texture) pair of classes."""
    return shape * (int(texture.max(initial=0)) + 1) + texture
