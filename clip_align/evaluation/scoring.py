# SPDX-License-Identifier: Apache-2.0
"""From a benchmark's items to its scores, and the contract that makes them recordable.

A benchmark that breaks the contract (`ContractError`) ends the run with an error that names it: invalid names before
step 0, invalid values at the first event that has items. After any other error the scores of that event are null and
training continues.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from clip_align.errors import UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.items import Items
from clip_align.evaluation.score import Score
from clip_align.metrics.estimate import Estimate, InvalidEstimateError, undefined

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
MOST_VALUES = 256  # of a column named by ``by``: each adds a key to every evaluation line
FORM = "a name is lower-case letters, digits and underscores"


class ContractError(Exception):
    """A benchmark returned something that cannot be recorded."""


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of one benchmark at one event.

    estimates: by score (``srocc``, ``srocc@layer_6``). notes: further numbers. items: with the values of all layers;
    None if the benchmark is null. failure: the traceback of an error that the benchmark raised, else None.
    """

    estimates: Mapping[str, Estimate]
    notes: Mapping[str, float] = field(default_factory=dict)
    items: Items | None = None
    failure: str | None = None


def refuse_names(benchmark: Benchmark) -> None:
    """UserError for invalid or repeated names of scores."""
    names = [score.name for score in benchmark.scores]
    wrong = [f"{benchmark.key}: score {name!r}: {FORM}" for name in names if not NAME.fullmatch(name)]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"{benchmark.key}: two scores are named {name}; give one of them another name" for name in twice]
    known = set(names)
    for score in benchmark.scores:
        if score.drawn_after_of is not None and score.drawn_after_of not in known:
            wrong.append(
                f"{benchmark.key}: score {score.name}: drawn_after_of is {score.drawn_after_of}, no score here"
            )
    if wrong:
        raise UserError(*wrong)


def all_scores(benchmark: Benchmark) -> list[Score]:
    """The declared scores, each followed by its details for the values in ``benchmark.tables``."""
    found: list[Score] = []
    for score in benchmark.scores:
        found.append(score)
        for value in benchmark.tables.get(score.by, ()) if score.by else ():
            name = f"{detail_prefix(score)}{_slug(value)}"
            detail = replace(score, name=name, label=f"{score.label}, {value}", role="detail", value=value)
            # reference values and verdict belong to the whole score only
            detail = replace(detail, ceilings={}, baselines={}, context={}, context_source="")
            found.append(replace(detail, has_verdict=False, drawn_after_of=None))
    return found


def detail_prefix(score: Score) -> str:
    """Start of the names of a score's details by value, ``srocc_type_``; a slug of the value follows."""
    return f"{score.name}_{_slug(score.by or '')}_"


def note_tables(benchmark: Benchmark, items: Items) -> None:
    """Add the values of the columns named by ``by`` to ``benchmark.tables``, so that keys stay the same in every event.

    ContractError for a missing column, too many values, or values that would have the same key.
    """
    for by in dict.fromkeys(score.by for score in benchmark.scores if score.by):
        try:
            values = tuple(np.unique(items.column(by).astype(str)).tolist())
        except KeyError as error:
            raise ContractError(f"a score has by={by!r}, but {error.args[0]}") from None
        known = benchmark.tables.get(by, ())
        merged = tuple(dict.fromkeys((*known, *values)))  # new values last: details keep their order
        if len(merged) > MOST_VALUES:
            raise ContractError(f"by={by!r}: {len(merged):,} values; a score is recorded for at most {MOST_VALUES}")
        slugs: dict[str, str] = {}
        for value in merged:
            other = slugs.setdefault(_slug(value), value)
            if other != value:
                raise ContractError(f"by={by!r}: the values {other!r} and {value!r} would have the same key")
        benchmark.tables[by] = merged


def estimates(benchmark: Benchmark, items: Items) -> dict[str, Estimate]:
    """All scores of the items by name; ContractError for invalid items, estimates or notes."""
    if not isinstance(items, Items):
        raise ContractError(f"items() returned {type(items).__name__}, not Items")
    note_tables(benchmark, items)
    scores = all_scores(benchmark)  # after note_tables, which may add details
    names = {score.name for score in scores}
    for note, value in items.notes.items():
        if not NAME.fullmatch(note):
            raise ContractError(f"note {note!r}: {FORM}")
        if note in names:  # both are recorded as ``<key>/<name>``
            raise ContractError(f"note {note} has the name of a score; give it another one")
        try:
            float(value)  # NumPy's numbers too
        except (TypeError, ValueError):
            raise ContractError(f"note {note}: {type(value).__name__} is not a number") from None
    for name in (*items.model, *items.clusters, *items.conditions):
        if "/" in name or "@" in name:
            raise ContractError(f"items: the column {name!r} has / or @ in its name, which are the record's own")
    return {score.name: undefined(items.reason) if items.reason else _estimate(score, items) for score in scores}


def all_undefined(benchmark: Benchmark, reason: str) -> dict[str, Estimate]:
    """Every score, undefined with the same reason."""
    return {score.name: undefined(reason) for score in all_scores(benchmark)}


def difference(first: Items, now: Items) -> str | None:
    """What differs between the items of two events (ids, human values or clusters); None if nothing does."""
    if first.ids != now.ids:
        return "ids"
    if not np.array_equal(first.human, now.human, equal_nan=True):  # a missing opinion is NaN in both
        return "human values"
    for name, labels in first.clusters.items():
        if name not in now.clusters or not np.array_equal(labels, now.clusters[name]):
            return f"clusters {name}"
    return None


def merged(by_layer: Mapping[str, Items]) -> Items | None:
    """One table of items with the model's values in all layers, named by the layers' suffixes; None without layers."""
    if not by_layer:
        return None
    first = next(iter(by_layer.values()))
    if any(items.ids != first.ids for items in by_layer.values()):
        raise ContractError("items differ between layers")
    model = {name + suffix: values for suffix, items in by_layer.items() for name, values in items.model.items()}
    return Items(model, first.human, first.ids, first.clusters, first.conditions)


def _estimate(score: Score, items: Items) -> Estimate:
    kept = items if score.value is None else items.where(items.column(score.by or "").astype(str) == score.value)
    if not len(kept) and score.value is not None:
        return undefined(f"no items with {score.by} {score.value}")
    try:
        estimate: object = score.estimate(kept)  # an object: an outside benchmark may return anything
    except InvalidEstimateError as error:
        raise ContractError(f"score {score.name}: {error}") from error
    if not isinstance(estimate, Estimate):
        raise ContractError(f"score {score.name}: compute returned {type(estimate).__name__}, not an Estimate")
    return estimate


def _slug(value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_") or "none"  # for a value without any letter or digit
