# SPDX-License-Identifier: Apache-2.0
"""A score's curve with pseudo-values, from the record and the items of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import bundles
from clip_align.analysis.pseudo_values import ScoreCurve, rank_curve
from clip_align.record.items import ItemsHistory, items_spacing
from clip_align.record.record import History
from clip_align.record.schema import BenchmarkLine, EvaluationLine, ScoreEntry, measured

__all__ = ["MISSING", "RecordedCurve", "judged_scores", "recorded_curve"]

POOLED, WITHIN = "srocc", "within_level_srocc"
TWO_WAY = "_two_way"
LEVEL = "level"  # the condition of the items that names their level
LIMITS = (-1.0, 1.0)  # of these scores
MISSING = "items missing"


@dataclass(frozen=True)
class RecordedCurve:
    """A score at all evaluations [T] at which its benchmark was due, step 0 first.

    steps: optimizer steps [T]. spans: steps that the average of the weights reaches back [T], None for raw weights.
    carried: the fraction of each average that is not younger than the evaluation before [T], None where not known.
    unit: the clusters that its error is over.
    """

    curve: ScoreCurve
    steps: list[int]
    spans: list[float | None]
    carried: list[float | None]
    unit: str


def judged_scores(history: History) -> list[tuple[BenchmarkLine, ScoreEntry]]:
    """The scores of a record that get a verdict."""
    return [(b, score) for b in history.benchmarks.values() for score in b["scores"] if score["has_verdict"]]


def recorded_curve(
    history: History, benchmark: BenchmarkLine, score: ScoreEntry, items: ItemsHistory | None
) -> RecordedCurve | str:
    """The curve of srocc or within-level srocc, or the reason why there is none.

    Args:
        history: the run's record.
        benchmark: whose score it is.
        score: its description. Its clusters, else the items' first ones, are what its error is over; that of a
            ``…_two_way`` score is over the first two kinds.
        items: the benchmark's items; None where there are none.

    An evaluation whose items are lost has no value. Regular ones whose items were thinned out on purpose are left out.
    """
    name, _, layer = score["name"].partition("@")
    statistic = name.removesuffix(TWO_WAY)
    path = f"{benchmark['key']}/{score['name']}"
    lines = [line for line in history.evaluations if path in line]
    if items is None:  # lost, unless there never was a value: items are kept with values only
        reasons = [found.reason for line in lines if (found := measured(line, path)) and found.value is None]
        return MISSING if len(reasons) < len(lines) or not reasons else str(reasons[-1])
    if statistic not in (POOLED, WITHIN):
        return f"there is no rule for {statistic}"
    columns = [n for n in items.model if n.partition("@")[2] == layer]
    if not columns:
        return MISSING
    if statistic == WITHIN and LEVEL not in items.conditions:
        return "the items have no levels"
    kinds = _clusters(score, items, 2 if name != statistic else 1)
    if not kinds:
        return "the items lack the clusters that the score names"
    lines = [line for line in lines if line["global_step"] in items.steps or not _thinned(line, history, benchmark)]
    rows = {step: row for row, step in enumerate(items.steps)}
    model = np.full((len(lines), len(items.human)), np.nan)
    for t, line in enumerate(lines):
        if line["global_step"] in rows and line.get(path) is not None:
            model[t] = items.model[columns[0]][rows[line["global_step"]]]
    # of averaged weights the lines say how far they reach back, and how much two averages have in common
    averages = f"weights/{benchmark['weights']}"
    return RecordedCurve(
        rank_curve(
            model,
            items.human,
            tuple(bundles(labels) for labels in kinds.values()),
            items.conditions[LEVEL] if statistic == WITHIN else None,
        ),
        [line["global_step"] for line in lines],
        [_number(line, f"{averages}/span_steps") for line in lines],
        [_number(line, f"{averages}/carried_fraction") for line in lines],
        " x ".join(kinds),
    )


def _number(line: Mapping[str, Any] | EvaluationLine, key: str) -> float | None:
    found = measured(line, key)
    return found.value if found else None


def _clusters(score: ScoreEntry, items: ItemsHistory, kinds: int) -> dict[str, NDArray[np.generic]]:
    """The clusters that a score's error is over, of so many kinds; empty where the items lack one."""
    columns = {**items.conditions, **items.clusters}
    if not columns and not score["clusters"]:
        return {"item": np.arange(len(items.human))}
    names = list(score["clusters"] or items.clusters or ["item"])[:kinds]
    if names == ["item"] and "item" not in columns:
        return {"item": np.arange(len(items.human))}
    found = {name: columns[name] for name in names if name in columns}
    return found if len(found) == kinds else {}


def _thinned(line: EvaluationLine, history: History, benchmark: BenchmarkLine) -> bool:
    """Whether the items of this evaluation were not kept, because a long run has so many (`items_spacing`)."""
    runs = [event["regular_every"] for event in history.events if event.get("regular_every")]
    every = int(benchmark["options"].get("every_n_steps") or next(reversed(runs), 0))
    step, last = line["global_step"], history.evaluations[-1]["global_step"]
    return every > 0 and step % every == 0 and step % items_spacing(every, last) != 0
