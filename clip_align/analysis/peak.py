# SPDX-License-Identifier: Apache-2.0
"""Did a score rise and then fall in this run? A rule whose false alarms on jitter are rare.

The peak of a noisy curve lies above its last point even where nothing fell: with the peak chosen and tested on the
same evaluations, a rise followed by a plateau is called a decline in a third to most of simulated runs. Here the peak
window (five consecutive regular evaluations) is chosen on every second evaluation and a random half of the references,
and measured, minus the end (the last window), on the other evaluations and the other half; the roles are exchanged and
the results averaged over 40 halvings. Its variance is that of the same procedure over resampled references plus the
noise of the training itself, which all references have in common so that resampling them does not show it: .6 times the
mean squared second difference of the curve over 6 (the second difference of white noise has 6 times its variance). The
interval is the bootstrap mean +- 1.96 times the root. tests/analysis/test_peak.py holds the rates of false alarms and
the power.

A resample draws references; all copies of one lie in the same half, so that the two halves stay independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.analysis.jackknife import bundles
from clip_align.analysis.reweighting import Curves, RankCurves
from clip_align.metrics.estimate import Estimate, undefined

__all__ = ["FEWEST_EVALUATIONS", "Peak", "Word", "peak"]

Word = Literal["rose_then_fell", "rise", "fall", "flat", "undecided"]
Floats = NDArray[np.float64]
Index = NDArray[np.intp]

WINDOW = 5
FEWEST_EVALUATIONS = 20
FEWEST_CLUSTERS = 8
MOST_CLUSTERS = 40  # more are bundled: the cost grows with their cube
HALVINGS = 40
RESAMPLES = 200
FEWEST_RESAMPLES = 100
NOISE_FRACTION = 0.6  # of the variance of one evaluation's training noise, in a difference of window means
POWER = 2.8  # 1.96 + .84 standard errors: what is found in 80 % of the runs


@dataclass(frozen=True)
class Peak:
    """The course of one score over the regular evaluations of one run.

    word: rose_then_fell (both lower bounds above 0), flat (both intervals inside the margin), rise or fall (lower
        bound above 0, the other change below the margin), undecided; None where there is no verdict, for ``reason``.
    rise, fall: of the peak window over the start, of the end below the peak window; cross-fitted, 95 % intervals.
    start, end: mean of the first two evaluations, of the last five. peak_from, peak_to: steps that hold the windows of
        the middle 90 % of all choices. smallest_detectable_fall: found in 80 % of such runs.
    naive_fall: from the highest to the last evaluation, chosen and tested on the same ones. For the record alone.
    evaluations: those counted; left_out: regular ones without a value; dropped_resamples: fraction without a value.
    """

    word: Word | None
    reason: str | None
    rise: Estimate
    fall: Estimate
    naive_fall: Estimate
    start: float | None = None
    end: float | None = None
    peak_from: int | None = None
    peak_to: int | None = None
    smallest_detectable_fall: float | None = None
    evaluations: int = 0
    left_out: int = 0
    dropped_resamples: float = 0.0


def peak(
    model: ArrayLike,
    human: ArrayLike,
    clusters: ArrayLike,
    steps: Sequence[int],
    within: ArrayLike | None = None,
    flat_margin: float = 0.03,
    seed: int = 0,
) -> Peak:
    """The rule for srocc (or, given ``within``, for within-level srocc) on items.

    Args:
        model: values [T, N] at the regular evaluations; NaN rows where an evaluation is missing.
        human: values [N].
        clusters: labels [N] of what is resampled (references); more than 40 are distributed over 40 bundles.
        steps: the evaluations' optimizer steps [T], ascending.
        within: levels [N] for within-level srocc; None for srocc over all items.
        flat_margin: change of the score below which it counts as flat, > 0.
        seed: of the halvings and resamples.

    Without a verdict, for a reason, with fewer than 20 evaluations or 8 clusters. ValueError where T differs.
    """
    values = np.asarray(model, dtype=np.float64)
    if values.shape[:1] != (len(steps),):
        raise ValueError(f"{len(steps)} steps, model values of shape {values.shape}")
    groups = bundles(clusters, MOST_CLUSTERS)
    found = int(groups.max(initial=-1)) + 1
    if found < FEWEST_CLUSTERS or len(steps) < FEWEST_EVALUATIONS:
        return _no_verdict(_too_few(found, len(steps)), len(steps), 0)
    return _rule(RankCurves(values, human, groups, within), steps, flat_margin, seed)


def _rule(curves: Curves, steps: Sequence[int], margin: float, seed: int) -> Peak:
    everyone = np.arange(curves.clusters)
    # one generator for all evaluations: the same resamples everywhere, so that differences keep their covariance
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(curves.clusters, np.full(curves.clusters, 1 / curves.clusters), size=RESAMPLES)
    weights = np.vstack([np.ones(curves.clusters), drawn])  # the first row: the references as they are
    whole = curves.values(weights, everyone, np.arange(curves.evaluations))
    kept = np.flatnonzero(np.isfinite(whole[0]))
    left_out = curves.evaluations - len(kept)
    reason = _why_not(kept, curves.evaluations)
    if reason:
        return _no_verdict(reason, len(kept), left_out)
    halves = [np.sort(generator.permutation(everyone)[: curves.clusters // 2]) for _ in range(HALVINGS)]
    rise, fall, choice = _cross_fit(curves, weights, halves, kept)
    usable = np.isfinite(rise[1:])
    if not np.isfinite(rise[0]) or usable.sum() < FEWEST_RESAMPLES:
        return _no_verdict("a half of the clusters has no value at some evaluation", len(kept), left_out)
    curve = whole[0, kept]
    noise = NOISE_FRACTION * float(np.mean(np.diff(curve, 2) ** 2)) / 6
    up, down = (_interval(v[0], v[1:][usable], noise) for v in (rise, fall))
    low, high = np.nanquantile(choice[1:], [0.05, 0.95], method="nearest").astype(int)
    return Peak(
        word=_word(up, down, margin),
        reason=None,
        rise=up,
        fall=down,
        naive_fall=_naive(whole[:, kept]),
        start=float(curve[:2].mean()),
        end=float(curve[-WINDOW:].mean()),
        peak_from=int(steps[kept[low]]),
        peak_to=int(steps[kept[high + WINDOW - 1]]),
        smallest_detectable_fall=POWER * float(np.sqrt(fall[1:][usable].var(ddof=1) + noise)),
        evaluations=len(kept),
        left_out=left_out,
        dropped_resamples=float(1 - usable.mean()),
    )


def _cross_fit(curves: Curves, weights: Floats, halves: Sequence[Index], kept: Index) -> tuple[Floats, Floats, Floats]:
    """Rise and fall [resamples + 1], means over halvings and roles, and the windows chosen [resamples + 1, 2 halvings].

    ``parts`` are the even and the odd evaluations; a window's value in a part is the mean of its members there, and
    the start's its one member, so that the two roles together have the mean of both evaluations. NaN where a half has
    no value; a resample keeps its other halvings while these are the most.
    """
    parts = [kept[0::2], kept[1::2]]
    windows = [_windows(len(kept), part) for part in (0, 1)]  # [windows, evaluations of the part]
    rises, falls, choices = [], [], []
    for half in halves:
        other = np.setdiff1d(np.arange(curves.clusters), half)
        sides = [curves.values(weights[:, m], m, part) for m, part in zip((half, other), parts, strict=True)]
        lost = np.isnan(sides[0]).any(axis=1) | np.isnan(sides[1]).any(axis=1)
        for role in (0, 1):
            measured = sides[1 - role]
            # chosen on one half and every second evaluation, measured on what had no part in the choice
            choice = np.argmax(sides[role] @ windows[role].T, axis=1)
            values = measured @ windows[1 - role].T
            top = np.take_along_axis(values, choice[:, None], axis=1)[:, 0]
            rises.append(np.where(lost, np.nan, top - measured[:, 0]))
            falls.append(np.where(lost, np.nan, top - values[:, -1]))
            choices.append(np.where(lost, np.nan, choice))
    rise, fall, choice = (np.stack(v, axis=1) for v in (rises, falls, choices))
    most = np.isnan(rise).mean(axis=1) < 0.5
    there = np.where(np.isnan(rise), 0.0, 1.0)
    # not nanmean, which warns about rows without any value
    mean = [np.where(most, np.nansum(v, axis=1) / np.maximum(there.sum(axis=1), 1), np.nan) for v in (rise, fall)]
    return mean[0], mean[1], choice


def _windows(evaluations: int, part: int) -> Floats:
    """Weights [windows, evaluations of the part] of the mean of each window's members in the even or odd part."""
    first = np.arange(evaluations - WINDOW + 1)[:, None]
    index = np.arange(evaluations)[part::2]
    inside = ((index >= first) & (index < first + WINDOW)).astype(np.float64)
    return np.asarray(inside / inside.sum(axis=1, keepdims=True))


def _interval(value: float, resampled: Floats, noise: float) -> Estimate:
    half = 1.96 * float(np.sqrt(resampled.var(ddof=1) + noise))
    middle = float(resampled.mean())
    return Estimate(float(value), middle - half, middle + half)


def _naive(whole: Floats) -> Estimate:
    """Highest minus last evaluation with its percentile interval over resamples: biased upwards, see the module."""
    falls = whole[:, int(np.argmax(whole[0]))] - whole[:, -1]
    resampled = falls[1:][np.isfinite(falls[1:])]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(falls[0]), float(low), float(high))


def _word(rise: Estimate, fall: Estimate, margin: float) -> Word:
    changes = [(e.low, e.high) for e in (rise, fall) if e.low is not None and e.high is not None]
    (rose, no_rise), (fell, no_fall) = ((low > 0, high < margin) for low, high in changes)
    if rose and fell:
        return "rose_then_fell"
    if all(-margin < low and high < margin for low, high in changes):
        return "flat"
    if rose and no_fall:
        return "rise"
    return "fall" if fell and no_rise else "undecided"


def _why_not(kept: Index, evaluations: int) -> str | None:
    if len(kept) < FEWEST_EVALUATIONS:
        return f"{len(kept)} of {evaluations} regular evaluations have a value; the rule needs {FEWEST_EVALUATIONS}"
    if kept[0] != 0 or kept[1] != 1:
        return "the score has no value at one of the first two regular evaluations, which are the start"
    if kept[-WINDOW] != evaluations - WINDOW:
        return f"the score has no value at one of the last {WINDOW} regular evaluations, which are the end"
    return None


def _too_few(clusters: int, evaluations: int) -> str:
    if evaluations < FEWEST_EVALUATIONS:
        return f"{evaluations} regular evaluations; the rule needs at least {FEWEST_EVALUATIONS}"
    return f"{clusters} clusters; the rule needs at least {FEWEST_CLUSTERS}"


def _no_verdict(reason: str, evaluations: int, left_out: int) -> Peak:
    none = undefined(reason)
    return Peak(None, reason, none, none, none, evaluations=evaluations, left_out=left_out)
