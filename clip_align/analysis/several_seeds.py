# SPDX-License-Identifier: Apache-2.0
"""Does a score decline in training, and not in one run alone? A rule for several seeds.

What one run shows of its curve may be a wander of that training. With several seeds, the windows that are compared in
one seed are chosen on the other seeds, so that a seed's own jitter has no part in the choice; what it does in the
result is in the spread of the seeds. The variance of a mean over S seeds is that over the references, which all seeds
have in common, plus the variance of the seeds over S; the degrees of freedom are Satterthwaite's. Three seeds may lie
close together by chance: their variance counts as no smaller than that of their jitter, which each curve tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jitter import jitter
from clip_align.analysis.pseudo_values import ScoreCurve
from clip_align.analysis.simultaneous import Contrasts
from clip_align.analysis.windows import WIDTHS, windows

__all__ = ["FEWEST_SEEDS", "Mean", "SeedWord", "SeveralSeeds", "paired_difference", "several_seeds"]

SeedWord = Literal["rose_then_declined", "rose", "declined", "no_change_shown"]
Floats = NDArray[np.float64]

FEWEST_SEEDS = 3
POWER = 0.84  # standard errors beside the critical value: found in 80 % of such sets of runs


@dataclass(frozen=True)
class Mean:
    """A change, mean over seeds, with its 95 % interval.

    by_seed: that of each seed. smallest_detectable: found in 80 % of such sets of runs.
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    smallest_detectable: float


@dataclass(frozen=True)
class SeveralSeeds:
    """The course of a score over several seeds.

    word: from the lower ends of both intervals. start, end: means over seeds of the score at step 0 and at the last
    two evaluations. rise: from step 0, fall: to the end, between windows that are chosen on the other seeds.
    """

    word: SeedWord
    start: float
    end: float
    rise: Mean
    fall: Mean
    seeds: int
    evaluations: int
    clusters: int


def several_seeds(curves: Sequence[ScoreCurve], limits: tuple[float, float] = (-1.0, 1.0)) -> SeveralSeeds:
    """The verdict over seeds.

    Args:
        curves: of at least three seeds, at the same T evaluations (step 0 first, at least 12) with values everywhere
            and the same clusters (at least 8).
        limits: lowest and highest possible value of the score.

    ValueError for fewer seeds or different shapes.
    """
    _refuse(curves)
    rise = _mean(curves, -_falls_chosen_on_others(curves, "from_start"), limits)
    fall = _mean(curves, _falls_chosen_on_others(curves, "to_end"), limits)
    return SeveralSeeds(
        word=_word(rise, fall),
        start=float(np.mean([curve.values[0] for curve in curves])),
        end=float(np.mean([curve.values[-2:].mean() for curve in curves])),
        rise=rise,
        fall=fall,
        seeds=len(curves),
        evaluations=len(curves[0].values),
        clusters=curves[0].clusters,
    )


def paired_difference(
    first: Sequence[ScoreCurve], second: Sequence[ScoreCurve], limits: tuple[float, float] = (-1.0, 1.0)
) -> tuple[Mean, Mean]:
    """How much more the first condition falls than the second, and how much higher it ends.

    Args:
        first: curves of one condition, as for `several_seeds`.
        second: of another one, with the same seeds in the same order.
        limits: lowest and highest possible value of the score.

    Each run's windows are chosen on the other seeds of its condition. ValueError as there.
    """
    _refuse([*first, *second])
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs; pairs need the same seeds")
    fall, fall_2 = (_falls_chosen_on_others(curves, "to_end") for curves in (first, second))
    last = np.zeros_like(fall)
    last[:, -2:] = 0.5
    both = (2 * (limits[0] - limits[1]), 2 * (limits[1] - limits[0]))  # of a difference of two falls
    return _mean(first, fall, both, (second, fall_2)), _mean(first, last, both, (second, last))


def _refuse(curves: Sequence[ScoreCurve]) -> None:
    if len(curves) < FEWEST_SEEDS:
        raise ValueError(f"{len(curves)} seeds; the rule needs at least {FEWEST_SEEDS}")
    shapes = {tuple(unit.shape for unit in curve.units) for curve in curves}
    if len(shapes) > 1:
        raise ValueError(f"curves of different shapes: {sorted(shapes)}")


def _falls_chosen_on_others(curves: Sequence[ScoreCurve], family: Literal["to_end", "from_start"]) -> Floats:
    """Weights [S, T] of each seed's fall, between the windows where the mean of the other seeds changes most clearly.

    For ``from_start`` these are rises, with the sign of falls.
    """
    sign = 1.0 if family == "to_end" else -1.0
    of = windows(len(curves[0].values))
    # the end is the last two evaluations, as in ``end``: seeds are enough to average over
    last_two = of.to_end & (of.width[of.later] == WIDTHS[0])
    members = np.flatnonzero(last_two if family == "to_end" else of.from_start)
    chosen = []
    for seed in range(len(curves)):
        others = [curve for place, curve in enumerate(curves) if place != seed]
        values = np.mean([curve.values for curve in others], axis=0)
        units = [np.mean(kind, axis=0) for kind in zip(*(curve.units for curve in others), strict=True)]
        shared = np.eye(len(values))
        found = Contrasts(values, units, jitter(values, shared).covariance, of)
        with np.errstate(divide="ignore", invalid="ignore"):  # curves without any noise
            clear = np.where(found.errors > 0, sign * found.falls / found.errors, sign * found.falls * 1e12)
        pair = members[np.argmax(clear[members])]
        chosen.append(of.weights[of.earlier[pair]] - of.weights[of.later[pair]])
    return np.array(chosen)


def _mean(
    curves: Sequence[ScoreCurve],
    weights: Floats,
    limits: tuple[float, float],
    minus: tuple[Sequence[ScoreCurve], Floats] | None = None,
) -> Mean:
    """Mean over seeds of the contrasts ``weights`` [S, T] of the curves, minus those of others where given."""
    from scipy.special import stdtrit

    by_seed, units, jitters = _contrast(curves, weights)
    if minus is not None:
        others, of_others, more = _contrast(*minus)
        by_seed, units = by_seed - others, [u - v for u, v in zip(units, of_others, strict=True)]
        jitters = (jitters[0] + more[0], jitters[1])
    by_seed[np.abs(by_seed) < 1e-12] = 0.0
    seeds = len(by_seed)
    parts = [(float(unit.var(ddof=1)) / len(unit), float(len(unit) - 1)) for unit in units]
    spread = float(by_seed.var(ddof=1))
    parts.append((max(spread, jitters[0]) / seeds, seeds - 1 if spread > jitters[0] else jitters[1]))
    variance = sum(part for part, _ in parts)
    value, width = float(by_seed.mean()), limits[1] - limits[0]
    if variance < 1e-24:
        return Mean(value, value, value, tuple(map(float, by_seed)), 0.0)
    degrees = variance**2 / sum(part**2 / free for part, free in parts)
    error, critical = variance**0.5, float(stdtrit(degrees, 0.975))
    low, high = max(-width, value - critical * error), min(width, value + critical * error)
    return Mean(value, low, high, tuple(map(float, by_seed)), (critical + POWER) * error)


def _contrast(curves: Sequence[ScoreCurve], weights: Floats) -> tuple[Floats, list[Floats], tuple[float, float]]:
    """Contrasts by seed [S]; by cluster of each kind, mean over seeds, [R]; their jitter's variance and degrees."""
    by_seed = np.array([w @ curve.values for w, curve in zip(weights, curves, strict=True)])
    kinds = range(len(curves[0].units))
    units = [np.mean([w @ c.units[kind] for w, c in zip(weights, curves, strict=True)], axis=0) for kind in kinds]
    noise = [jitter(curve.values, np.eye(len(curve.values))) for curve in curves]
    variance = float(np.mean([w @ n.covariance @ w for w, n in zip(weights, noise, strict=True)]))
    return by_seed, units, (variance, sum(n.degrees for n in noise))


def _word(rise: Mean, fall: Mean) -> SeedWord:
    if rise.low > 0 and fall.low > 0:
        return "rose_then_declined"
    if fall.low > 0:
        return "declined"
    return "rose" if rise.low > 0 else "no_change_shown"
