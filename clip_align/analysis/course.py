# SPDX-License-Identifier: Apache-2.0
"""Did a score rise, fall, recover in this run? Statements that hold together, at a stated level.

Every window of evaluations is compared with every later one. The error of a comparison comes from the references
(`pseudo_values`) and from the jitter of the weights (`jitter`); one critical value for all comparisons of a family
(`simultaneous`) takes account of having looked everywhere. So a peak need not be located before it is tested, and it
may be early or late, broad or as short as two evaluations. `error_rates` measures how often such statements are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jitter import jitter
from clip_align.analysis.pseudo_values import ScoreCurve
from clip_align.analysis.simultaneous import Contrasts, Simultaneous
from clip_align.analysis.windows import windows

__all__ = [
    "FEWEST_CLUSTERS",
    "FEWEST_EVALUATIONS",
    "Change",
    "Course",
    "Span",
    "Stretch",
    "Word",
    "course",
    "fall_so_far",
]

Word = Literal["rose_then_fell", "rose_fell_recovered", "fell_recovered", "rose", "fell", "no_change_shown"]
Direction = Literal["rose", "fell"]
Floats = NDArray[np.float64]

FEWEST_EVALUATIONS = 12
FEWEST_CLUSTERS = 8
LEVEL = 0.975  # of the one-sided families: rises from step 0, falls to the last evaluation, upper bounds of these
LEVEL_ANYWHERE = 0.95  # of all pairs of windows, two-sided
POWER = 0.84  # standard errors: with these beside the critical value, a change is shown in 80 % of the runs
NOTHING = 1e-9  # of a score: smaller bounds are rounding


@dataclass(frozen=True)
class Span:
    """A window of evaluations: its first and last optimizer step, and the mean of the score there."""

    first: int
    last: int
    value: float


@dataclass(frozen=True)
class Change:
    """A change from one window to a later one: its size (positive, if it has its direction) and bounds of it."""

    earlier: Span
    later: Span
    size: float
    at_least: float
    at_most: float | None = None


@dataclass(frozen=True)
class Stretch:
    """Steps between which the curve rose or fell, by at least so much: all stretches together at 95 %."""

    direction: Direction
    first: int
    last: int
    at_least: float


@dataclass(frozen=True)
class Course:
    """The course of one score over the evaluations of one run.

    word: None where there is no verdict, for ``reason``.
    start: the score at step 0.
    rise: from step 0 to the window for which the lower bound is largest; 0 where no rise is shown.
    fall: from an earlier window to one that ends in the last evaluation, likewise.
    most: the fall from the window of at most two evaluations to the last two whose upper bound is largest: ``at_most``
        of any such. smallest_detectable_fall: between these two windows, found in 80 % of such runs.
    stretches: shortest disjoint ones of certain rise or fall, by step. peak_from, peak_to: steps between which the
        highest two evaluations lie, where a rise and a fall are shown.
    naive_fall: from the highest to the last evaluation, with an interval that ignores how it was chosen: (value, low,
        high). For the record alone.
    jitter, lag_1: its standard deviation, and the correlation of neighbours beyond that of overlapping averages;
    lag_1_used: how much of it the bounds are widened by.
    evaluations, clusters: those counted. left_out: evaluations without a value.
    """

    word: Word | None
    reason: str | None = None
    start: float | None = None
    rise: Change | None = None
    fall: Change | None = None
    most: Change | None = None
    smallest_detectable_fall: float | None = None
    stretches: tuple[Stretch, ...] = field(default=())
    peak_from: int | None = None
    peak_to: int | None = None
    naive_fall: tuple[float, float, float] | None = None
    jitter: float | None = None
    lag_1: float | None = None
    lag_1_used: float | None = None
    evaluations: int = 0
    clusters: int = 0
    left_out: int = 0


def course(
    curve: ScoreCurve,
    steps: Sequence[int],
    shared: Floats | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
) -> Course:
    """The verdict on one score.

    Args:
        curve: the score and its pseudo-values at T evaluations; NaN where it has no value.
        steps: the evaluations' optimizer steps [T], ascending, from step 0; any spacing.
        shared: correlation [T, T] of the evaluations' jitter by averages of the weights that overlap
            (`jitter.overlap`); None: raw weights.
        limits: lowest and highest possible value of the score; no bound is wider than their distance.

    Without a verdict, for a reason, with fewer than 12 evaluations or 8 clusters, or without a value at step 0 or at
    the last evaluation. ValueError where lengths differ.
    """
    among = np.eye(len(steps)) if shared is None else shared
    if not len(curve.values) == len(steps) == len(among):
        raise ValueError(f"{len(curve.values)} values, {len(steps)} steps, correlations of {len(among)}")
    kept = curve.defined
    left_out = len(steps) - len(kept)
    if reason := _why_not(curve, steps, kept):
        return Course(None, reason, evaluations=len(kept), clusters=curve.clusters, left_out=left_out)
    some = curve.at(kept)
    found = _Comparison(some, [int(steps[t]) for t in kept], among[np.ix_(kept, kept)], limits)
    rise, fall, most = found.rise(), found.fall(), found.most()
    stretches = found.stretches()
    peak = found.peak() if rise.at_least > 0 and fall.at_least > 0 else (None, None)
    return Course(
        word=_word(rise, fall, stretches),
        start=float(some.values[0]),
        rise=rise,
        fall=fall,
        most=most,
        smallest_detectable_fall=found.detectable(),
        stretches=stretches,
        peak_from=peak[0],
        peak_to=peak[1],
        naive_fall=_naive(some, limits),
        jitter=found.jitter.size,
        lag_1=found.jitter.lag_1,
        lag_1_used=found.jitter.used,
        evaluations=len(kept),
        clusters=some.clusters,
        left_out=left_out,
    )


def fall_so_far(curve: ScoreCurve, steps: Sequence[int], shared: Floats | None, looks: int | None) -> Change | None:
    """A fall that a run under way has shown, with its lower bound; None where it has shown none.

    Args:
        curve: the score so far, see `course`.
        steps: of its evaluations [T].
        shared: see `course`.
        looks: how often a run is looked at until its end, from the 12th evaluation on; None: not known, and the level
            of the k-th look is divided by k (k + 1).

    All looks of a run together show a fall that is not there in .025 of the runs at most.
    """
    kept = curve.defined
    if _why_not(curve, steps, kept):
        return None
    look = len(kept) - FEWEST_EVALUATIONS + 1
    level = 1 - (1 - LEVEL) / (look * (look + 1) if looks is None else max(look, looks))
    among = np.eye(len(steps)) if shared is None else shared
    at = [int(steps[t]) for t in kept]
    fall = _Comparison(curve.at(kept), at, among[np.ix_(kept, kept)], (-1.0, 1.0)).fall(level)
    return fall if fall.at_least > 0 else None


class _Comparison:
    """All comparisons of one curve, computed once for the statements below."""

    def __init__(self, curve: ScoreCurve, steps: Sequence[int], shared: Floats, limits: tuple[float, float]) -> None:
        self._steps, self._width = steps, limits[1] - limits[0]
        self.jitter = jitter(curve.values, shared, steps)
        self._of = of = windows(len(steps))
        self._families = {
            "anywhere": np.ones(len(of.earlier), dtype=bool),
            "to_end": of.to_end,
            "from_start": of.from_start,
            "short": of.to_end & of.short,
        }
        self._means = of.weights @ curve.values
        found = Contrasts(curve.values, curve.units, self.jitter.covariance, of)
        self._falls, self._errors = found.falls, found.errors
        self._among = Simultaneous(found, (curve.clusters - 1, self.jitter.degrees), self._families)
        everywhere = self._among.critical("anywhere", LEVEL_ANYWHERE, sides=2) * self._errors
        self._fell_by = self._falls - everywhere  # lower bounds of falls [P], and of rises
        self._rose_by = -self._falls - everywhere

    def rise(self) -> Change:
        """From step 0, with the largest lower bound."""
        bounds = -self._falls - self._among.critical("from_start", LEVEL) * self._errors
        pair = self._best("from_start", bounds)
        return self._change(pair, -self._falls[pair], bounds[pair])

    def fall(self, level: float = LEVEL) -> Change:
        """To the last evaluation, with the largest lower bound."""
        bounds = self._falls - self._among.critical("to_end", level) * self._errors
        pair = self._best("to_end", bounds)
        return self._change(pair, self._falls[pair], bounds[pair])

    def most(self) -> Change:
        """To the last two evaluations, with the largest upper bound."""
        wide = self._among.critical("short", LEVEL) * self._errors
        pair = self._best("short", self._falls + wide)
        size = self._falls[pair]
        at_most = min(self._width, _plain(size + wide[pair]))
        return self._change(pair, size, size - wide[pair], at_most)

    def detectable(self) -> float:
        """The fall between the windows of ``most`` that the test of falls shows with a power of 80 %."""
        wide = self._among.critical("short", LEVEL) * self._errors
        pair = self._best("short", self._falls + wide)
        return float((self._among.critical("to_end", LEVEL) + POWER) * self._errors[pair])

    def stretches(self) -> tuple[Stretch, ...]:
        """The shortest stretches of certain rise or fall, disjoint within each direction, by their first step."""
        both: tuple[tuple[Direction, Floats], ...] = (("rose", self._rose_by), ("fell", self._fell_by))
        found = [s for direction, bounds in both for s in self._shortest(direction, bounds)]
        return tuple(sorted(found, key=lambda s: (s.first, s.last)))

    def peak(self) -> tuple[int | None, int | None]:
        """Steps that hold the highest two evaluations: of the windows of which no other is certainly higher."""
        of = self._of
        lower = np.zeros(len(of.width), dtype=bool)  # certainly, than some other window
        lower[of.earlier[self._rose_by > NOTHING]] = True
        lower[of.later[self._fell_by > NOTHING]] = True
        may = np.flatnonzero((of.width <= 2) & ~lower)
        if not len(may):
            return None, None
        return int(self._steps[of.first[may].min()]), int(self._steps[of.last[may].max()])

    def _best(self, family: str, bounds: Floats) -> int:
        members = np.flatnonzero(self._families[family])
        return int(members[np.argmax(bounds[members])])

    def _change(self, pair: int, size: float, at_least: float, at_most: float | None = None) -> Change:
        spans = [self._span(int(side[pair])) for side in (self._of.earlier, self._of.later)]
        return Change(spans[0], spans[1], float(size), _plain(at_least), at_most)

    def _span(self, window: int) -> Span:
        first, last = (int(self._steps[side[window]]) for side in (self._of.first, self._of.last))
        return Span(first, last, float(self._means[window]))

    def _shortest(self, direction: Direction, bounds: Floats) -> list[Stretch]:
        of = self._of
        pairs = np.flatnonzero(bounds > NOTHING)
        ends = np.column_stack((of.last[of.later[pairs]], -of.first[of.earlier[pairs]], -bounds[pairs]))
        chosen: list[Stretch] = []
        free = -1  # first evaluation after the stretches chosen so far; two may share the evaluation between them
        for row in np.lexsort(ends.T[::-1]):  # by the last evaluation, then the shortest, then the surest
            pair = pairs[row]
            first, last = int(of.first[of.earlier[pair]]), int(of.last[of.later[pair]])
            if first >= free:
                chosen.append(Stretch(direction, self._steps[first], self._steps[last], float(bounds[pair])))
                free = last
        return chosen


def _word(rise: Change, fall: Change, stretches: Sequence[Stretch]) -> Word:
    rises = [s for s in stretches if s.direction == "rose"]
    falls = [s for s in stretches if s.direction == "fell"]
    rose, fell = rise.at_least > 0 or bool(rises), fall.at_least > 0 or bool(falls)
    if rise.at_least > 0 and fall.at_least > 0:
        return "rose_then_fell"
    recovered = [f for f in falls if any(r.first > f.first and r.last > f.last for r in rises)]
    if fall.at_least == 0 and recovered:
        if any(r.first < f.first and r.last <= f.last for r in rises for f in recovered):
            return "rose_fell_recovered"
        if rise.at_least == 0:  # else a dip at the start of a rise: what is shown of the whole is the rise
            return "fell_recovered"
    if rose and not (fell and rise.at_least == 0):
        return "rose"
    return "fell" if fell else "no_change_shown"


def _plain(bound: float) -> float:
    """A bound of a change that is at least 0, without rounding errors."""
    return float(bound) if bound > NOTHING else 0.0


def _naive(curve: ScoreCurve, limits: tuple[float, float]) -> tuple[float, float, float]:
    from clip_align.metrics.intervals import t95

    top = int(np.argmax(curve.values))
    size = float(curve.values[top] - curve.values[-1])
    variance = sum(float((u[top] - u[-1]).var(ddof=1)) / u.shape[1] for u in curve.units)
    half = t95(curve.clusters - 1) * variance**0.5
    width = limits[1] - limits[0]
    return size, max(-width, size - half), min(width, size + half)


def _why_not(curve: ScoreCurve, steps: Sequence[int], kept: NDArray[np.intp]) -> str | None:
    if curve.clusters < FEWEST_CLUSTERS:
        return f"{curve.clusters} clusters; the rule needs at least {FEWEST_CLUSTERS}"
    if len(kept) < FEWEST_EVALUATIONS:
        missing = f" of {len(steps)}" if len(kept) < len(steps) else ""
        return f"{len(kept)}{missing} evaluations have a value; the rule needs at least {FEWEST_EVALUATIONS}"
    if kept[0] != 0 or steps[0] != 0:
        return "the score has no value at step 0, which is the start"
    if kept[-1] != len(steps) - 1:
        return "the score has no value at the last evaluation, which is the end"
    return None
