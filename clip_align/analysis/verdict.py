# SPDX-License-Identifier: Apache-2.0
"""The verdicts at the end of a run: did a score rise and fall, as fields of the record and as one paragraph.

A score gets one where it declares the margin below which a change counts as flat; the rule exists for srocc and
within-level srocc. One run can show that its curve fell by more than its own jitter, hence "in this run"; that training
in general makes the score decline needs several seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.peak import Peak, peak
from clip_align.analysis.verdict_sentence import sentence
from clip_align.metrics.estimate import Estimate
from clip_align.record.items import items_spacing
from clip_align.record.schema import measured

if TYPE_CHECKING:
    from clip_align.record.record import History, ItemsHistory
    from clip_align.record.schema import BenchmarkLine

__all__ = ["verdicts"]

POOLED, WITHIN = "srocc", "within_level_srocc"
LEVEL = "level"  # the condition of the items that names their level
NAIVE = "peak chosen and tested on the same evaluations: biased upwards, not a finding"
MISSING = "items missing"


def verdicts(history: History, items_of: Callable[[str], ItemsHistory | None]) -> list[dict[str, Any]]:
    """Fields of the record's ``verdict`` lines, one for each score that declares a flat margin.

    ``score`` (its full key), ``word`` (None without a verdict, then ``reason``), ``sentence``; ``rise`` and ``fall``
    with ``/low`` and ``/high``; ``start``, ``peak``, ``end`` values; ``peak_from`` and ``peak_to`` steps;
    ``smallest_detectable_fall``; ``evaluations``, ``left_out``, ``dropped_resamples``, ``unit``; and, labelled, the
    ``naive_fall``. items_of: items of a benchmark by key, None where there are none. About .3 s for a default run.
    """
    described = [
        (benchmark, score["name"], margin)
        for benchmark in history.benchmarks.values()
        for score in benchmark["scores"]
        if (margin := score["flat_margin"]) is not None
    ]
    several = len({benchmark["key"] for benchmark, _, _ in described}) > 1
    items = {b["key"]: items_of(b["key"]) for b, _, _ in described}
    lines = []
    for benchmark, name, margin in described:
        key = benchmark["key"]
        found = _peak(history, benchmark, name, margin, items[key])
        subject = f"{key}/{name}" if several else name
        table = items[key]
        unit = next(iter(table.clusters), "item") if table else None
        lines.append({"score": f"{key}/{name}", **_fields(found, margin, subject), "unit": unit})
    return lines


def _fields(found: Peak, margin: float, subject: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"word": found.word, "sentence": sentence(found, margin, subject)}
    if found.reason:
        fields["reason"] = found.reason
    for name, estimate in (("rise", found.rise), ("fall", found.fall), ("naive_fall", found.naive_fall)):
        fields.update({name: estimate.value, f"{name}/low": estimate.low, f"{name}/high": estimate.high})
    rise = found.rise.value
    fields.update(
        {
            "naive_fall/label": NAIVE,
            "start": found.start,
            "peak": None if found.start is None or rise is None else found.start + rise,
            "end": found.end,
            "peak_from": found.peak_from,
            "peak_to": found.peak_to,
            "smallest_detectable_fall": found.smallest_detectable_fall,
            "flat_margin": margin,
            "evaluations": found.evaluations,
            "left_out": found.left_out,
            "dropped_resamples": found.dropped_resamples,
        }
    )
    return fields


def _peak(history: History, benchmark: BenchmarkLine, name: str, margin: float, items: ItemsHistory | None) -> Peak:
    statistic, _, layer = name.partition("@")
    path = f"{benchmark['key']}/{name}"
    undefined_at = dict(_undefined(history, path))
    if items is None:  # lost, unless there never was a value: items are kept with values only
        valued = any(line.get(path) is not None for line in history.evaluations)
        return _without(MISSING if valued else next(reversed(undefined_at.values()), MISSING))
    columns = [n for n in items.model if n.partition("@")[2] == layer]
    if statistic not in (POOLED, WITHIN):
        return _without(f"there is no rule for {statistic}")
    if not columns:
        return _without(MISSING)
    if statistic == WITHIN and LEVEL not in items.conditions:
        return _without("the items have no levels")
    steps = _regular_steps(history, benchmark)
    if steps is None:
        return _without("the record does not name the interval of the regular evaluations")
    known = {s: t for t, s in enumerate(items.steps) if s not in undefined_at}
    model: NDArray[np.float64] = np.full((len(steps), len(items.human)), np.nan)
    for row, step in enumerate(steps):
        if step in known:
            model[row] = items.model[columns[0]][known[step]]
    clusters = next(iter(items.clusters.values()), np.arange(len(items.human)))
    levels = items.conditions[LEVEL] if statistic == WITHIN else None
    return peak(model, items.human, clusters, steps, levels, margin)


def _undefined(history: History, path: str) -> Iterator[tuple[int, str]]:
    for line in history.evaluations:
        found = measured(line, path)
        if found is not None and found.value is None:
            yield line["global_step"], str(found.reason)


def _regular_steps(history: History, benchmark: BenchmarkLine) -> range | None:
    """Every step at which this run should have the benchmark's items: what is missing there is a gap, not forgotten.

    The benchmark's own interval, else the run's; None where the record names neither.
    """
    runs = [e["regular_every"] for e in history.events if e.get("regular_every")]
    every = benchmark["options"].get("every_n_steps") or next(reversed(runs), None)
    last = max((line["global_step"] for line in history.evaluations), default=-1)
    return range(0, last + 1, items_spacing(int(every), last)) if every else None


def _without(reason: str) -> Peak:
    none = Estimate(None, reason=reason)
    return Peak(None, reason, none, none, none)
