# SPDX-License-Identifier: Apache-2.0
"""Verdicts over several seeds, from the records of runs: by condition, and between conditions with the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clip_align.analysis.course import FEWEST_CLUSTERS, FEWEST_EVALUATIONS
from clip_align.analysis.pseudo_values import ScoreCurve
from clip_align.analysis.recorded_curve import LIMITS, MISSING, RecordedCurve, judged_scores, recorded_curve
from clip_align.analysis.several_seeds import FEWEST_SEEDS, Mean, SeveralSeeds, paired_difference, several_seeds
from clip_align.analysis.verdict_sentence import lower, upper, value
from clip_align.record.schema import score_key

if TYPE_CHECKING:
    from clip_align.record.record import History, ItemsHistory

__all__ = ["SeedVerdict", "SeededRun", "seed_verdicts"]

WORDS = {
    "rose_then_declined": "rose, then declined",
    "rose": "rose",
    "declined": "declined",
    "no_change_shown": "no change shown",
}


@dataclass(frozen=True)
class SeededRun:
    """A run of some condition (all that its configuration has but the seed), with its record and items.

    items_of: from a benchmark's key to the run's items; None where there are none.
    """

    condition: str
    seed: str
    history: History
    items_of: Callable[[str], ItemsHistory | None]


class SeedVerdict(NamedTuple):
    """What several runs say of the score ``key`` together, as a sentence about one condition or a pair of them."""

    key: str
    conditions: tuple[str, ...]
    sentence: str


class _Curves(NamedTuple):
    """The curves of one condition by seed, and their items, which have to be the same."""

    by_seed: dict[str, RecordedCurve]
    items: tuple[str, ...]


def seed_verdicts(runs: Sequence[SeededRun]) -> list[SeedVerdict]:
    """Verdicts of every condition with at least three seeds, and of every two conditions that share three.

    Of two runs with one condition and seed the first counts. A condition whose curves cannot be compared gets a
    sentence that says why; none at all where no condition has three seeds.
    """
    conditions = list(dict.fromkeys(run.condition for run in runs))
    by_condition = {c: {run.seed: run for run in reversed(runs) if run.condition == c} for c in conditions}
    found = []
    for key in dict.fromkeys(score_key(*entry) for run in runs for entry in judged_scores(run.history)):
        curves = {c: _curves(key, of) for c, of in by_condition.items() if len(of) >= FEWEST_SEEDS}
        found += [SeedVerdict(key, (c,), _verdict(key, of)) for c, of in curves.items()]
        found += _paired(key, {c: of for c, of in curves.items() if not isinstance(of, str)})
    return found


def _curves(key: str, runs: Mapping[str, SeededRun]) -> _Curves | str:
    curves: dict[str, RecordedCurve] = {}
    items: set[tuple[str, ...]] = set()
    for seed, run in runs.items():
        described = {score_key(*entry): entry for entry in judged_scores(run.history)}
        if key not in described:
            return f"seed {seed} has no such score"
        benchmark, score = described[key]
        table = run.items_of(benchmark["key"])
        curve = recorded_curve(run.history, benchmark, score, table)
        if isinstance(curve, str) or table is None:
            return f"seed {seed}: {curve if isinstance(curve, str) else MISSING}"
        curves[seed] = curve
        items.add(tuple(table.ids))
    if len(items) > 1:
        return "the runs have other items"
    return _Curves(curves, items.pop())


def _verdict(key: str, curves: _Curves | str) -> str:
    subject = key.rpartition("/")[2]
    shared = curves if isinstance(curves, str) else _at_common_steps(list(curves.by_seed.values()))
    if isinstance(shared, str):
        return f"{subject}: no verdict over seeds: {shared}."
    return _sentence(subject, several_seeds(shared, LIMITS))


def _paired(key: str, curves: Mapping[str, _Curves]) -> Iterator[SeedVerdict]:
    for first, second in combinations(curves, 2):
        one, other = curves[first], curves[second]
        seeds = [seed for seed in one.by_seed if seed in other.by_seed]
        if len(seeds) < FEWEST_SEEDS or one.items != other.items:
            continue
        shared = _at_common_steps([c.by_seed[seed] for c in (one, other) for seed in seeds])
        if not isinstance(shared, str):
            fall, end = paired_difference(shared[: len(seeds)], shared[len(seeds) :], LIMITS)
            text = (
                f"{key.rpartition('/')[2]}, {first} minus {second} in {len(seeds)} pairs of seeds: fall {_span(fall)}, "
                f"last two evaluations {_span(end)} (95 % over references and pairs)."
            )
            yield SeedVerdict(key, (first, second), text)


def _at_common_steps(found: Sequence[RecordedCurve]) -> list[ScoreCurve] | str:
    """The curves at the steps at which all have a value, or why they cannot be compared."""
    defined = [[one.steps[t] for t in one.curve.defined] for one in found]
    common = sorted(set.intersection(*map(set, defined)))
    clusters = {tuple(unit.shape[1] for unit in one.curve.units) for one in found}
    if len(clusters) > 1 or found[0].curve.clusters < FEWEST_CLUSTERS:
        return f"the rule needs the same clusters in all runs, at least {FEWEST_CLUSTERS}"
    if len(common) < FEWEST_EVALUATIONS:
        return f"{len(common)} evaluations at common steps; the rule needs at least {FEWEST_EVALUATIONS}"
    if common[0] != 0:
        return "the score has no value at step 0 in one of the runs"
    if {one.steps[-1] for one in found} != {common[-1]}:
        return "the runs do not end at the same step with a value"
    return [one.curve.at(np.array([one.steps.index(step) for step in common])) for one in found]


def _sentence(subject: str, found: SeveralSeeds) -> str:
    rise, fall = found.rise, found.fall
    text = f"{subject}, {found.seeds} seeds: {WORDS[found.word]}. "
    start, end = f"{value(found.start)} at step 0", f"{value(found.end)} over the last two evaluations"
    text += (
        f"It rose by {_span(rise)} from {start}" if rise.low > 0 else f"No rise from {start} is shown: {_span(rise)}"
    )
    if fall.low > 0:
        text += f"; it fell by {_span(fall)} to {end}"
    else:
        least = upper(fall.smallest_detectable)
        text += f"; no decline to {end} is shown: {_span(fall)}, such runs could have shown (80 %) one of {least}"
    return f"{text} (means, 95 % over references and seeds; the windows of each seed are chosen on the others)."


def _span(mean: Mean) -> str:
    return f"{value(mean.value)} [{lower(mean.low)}, {upper(mean.high)}]"
