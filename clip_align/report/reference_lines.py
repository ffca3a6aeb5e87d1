# SPDX-License-Identifier: Apache-2.0
"""What a panel's curves are compared with: chance, ceilings, baselines, and limits that move with accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clip_align.perception.imagenet_by_samples import ACCURACY, SAMPLES, SOURCE
from clip_align.record.record import History
from clip_align.record.schema import BenchmarkLine, ScoreEntry, measured, name_of
from clip_align.report.score_curves import Curve, benchmark_of, tagged

Kind = Literal["chance", "baseline", "ceiling"]
Member = tuple[BenchmarkLine, ScoreEntry]


@dataclass(frozen=True)
class Reference:
    """A horizontal line; ``spread`` is one standard deviation, where the value is a mean.

    ``keys`` are the full keys of the scores it belongs to. ``owner`` is the key of the leading curve whose colour it
    has, empty for a line that several benchmarks share. Where the panel has several leading curves, ``tag`` is what
    names its own (its benchmark).
    """

    label: str
    value: float
    kind: Kind
    keys: tuple[str, ...] = ()
    spread: float | None = None
    owner: str = ""
    tag: str = ""

    @property
    def name(self) -> str:
        """Label and tag."""
        return tagged(self.label, self.tag)


@dataclass(frozen=True)
class Bound:
    """A line that moves, as (samples, value): the upper limit of a curve, or what others reach after so many samples.

    ``sentence``: of the page about it; empty for a limit, which has one of its own.
    """

    label: str
    points: tuple[tuple[int, float], ...]
    sentence: str = ""


def references(members: Sequence[Member], curves: Sequence[Curve]) -> Iterator[Reference]:
    """Chance of all curves, each value once; ceilings and baselines of each leading curve.

    Args:
        members: a benchmark and a score for each curve.
        curves: in the same order; those that lead the panel have ``leads``.
    """
    leading = [c for c in curves if c.leads]
    yield from _chances(members, curves, leading)
    tags_of = dict(zip((c.key for c in leading), _tags_of_leading(leading), strict=True))
    for (_, score), curve in zip(members, curves, strict=True):
        if curve.key in tags_of:
            for line in levels(score):
                yield replace(line, keys=(curve.key,), owner=curve.key, tag=tags_of[curve.key])


def _chances(members: Sequence[Member], curves: Sequence[Curve], leading: Sequence[Curve]) -> Iterator[Reference]:
    chances: dict[float, list[Curve]] = {}
    for (_, score), curve in zip(members, curves, strict=True):
        if score["chance"] is not None:
            chances.setdefault(round(score["chance"], 6), []).append(curve)
    first = {benchmark_of(c.key): c.key for c in reversed(leading)}  # leading curve of each benchmark
    for value, sharing in chances.items():
        if len(chances) == 1 and (len(sharing) > 1 or len(members) == 1):
            label = "chance"
        else:
            label = f"chance: {', '.join(dict.fromkeys(_names_by_chance(sharing, chances)))}"
        owners = {c.key if c.leads else first.get(benchmark_of(c.key), "") for c in sharing}
        owner = owners.pop() if len(owners) == 1 else ""
        yield Reference(label, value, "chance", tuple(c.key for c in sharing), owner=owner)


def _names_by_chance(sharing: Sequence[Curve], chances: Mapping[float, Sequence[Curve]]) -> Iterator[str]:
    """What names those who share a chance: their benchmark where all its scores do, else each score."""
    for curve in sharing:
        key = benchmark_of(curve.key)
        values = [v for v, curves in chances.items() if any(benchmark_of(c.key) == key for c in curves)]
        several = len({benchmark_of(c.key) for curves in chances.values() for c in curves}) > 1
        yield name_of(key) if several and len(values) == 1 else curve.name


def _tags_of_leading(leading: Sequence[Curve]) -> list[str]:
    """What names the lines of each leading curve: its benchmark, or its label where a benchmark has several."""
    if len(leading) == 1:
        return [""]
    owners = [benchmark_of(c.key) for c in leading]
    if len(set(owners)) == len(owners):
        return benchmark_names(owners)
    return [c.name for c in leading]


def benchmark_names(benchmarks: Sequence[str]) -> list[str]:
    """The benchmarks' names, or their whole keys where two have the same name."""
    names = [name_of(key) for key in benchmarks]
    return names if len(set(names)) == len(names) else list(benchmarks)


def levels(score: ScoreEntry) -> Iterator[Reference]:
    """Ceilings and baselines of a score; what ends in `` sd`` is the spread of the one before it."""
    for label, value in score["ceilings"].items():
        yield Reference(label, value, "ceiling")
    baselines = score["baselines"]
    for label, value in baselines.items():
        if not label.endswith((" sd", "_sd")):
            spread = baselines.get(f"{label} sd", baselines.get(f"{label}_sd"))
            yield Reference(label.replace("_", " "), value, "baseline", spread=spread)


def imagenet_lines(members: Sequence[Member], history: History) -> Iterator[Bound]:
    """What others reach on ImageNet after so many samples, up to those of the run; none before the first of them.

    Args:
        members: a benchmark and a score for each curve.
        history: the record that they are of.
    """
    last = max((line["samples_seen"] for line in history.evaluations), default=0)
    if last <= SAMPLES[0] or not any(score["context_source"] == SOURCE for _, score in members):
        return
    for model, values in ACCURACY.items():
        pairs = list(zip(SAMPLES, values, strict=True))
        points = [pair for pair in pairs if pair[0] <= last]
        if points != pairs and points[-1][0] < last:  # between two of them, linear in the logarithm
            (before, low), (after, high) = pairs[len(points) - 1 : len(points) + 1]
            points.append((last, low + (high - low) * math.log(last / before) / math.log(after / before)))
        sentence = f"{model} on DataComp-1B reached {points[-1][1]:.3f} after {points[-1][0]:,} samples: {SOURCE}."
        yield Bound(f"{model}, DataComp-1B", tuple(points), sentence)


def relative_bounds(members: Sequence[Member], curves: Sequence[Curve], history: History) -> Iterator[Bound]:
    """Upper limit 1 - chance / clean accuracy of a relative drop: it rises with nothing changing but accuracy.

    One for each benchmark that has such a drop; a benchmark's own value (`relative_drop_limit`) goes first.

    Args:
        members: a benchmark and a score for each curve.
        curves: in the same order.
        history: the record that they are of.
    """
    done: set[str] = set()
    for (benchmark, score), curve in zip(members, curves, strict=True):
        key = benchmark["key"]
        if key in done or not score["name"].startswith("relative_drop") or "@" in score["name"]:
            continue
        chance = next((s["chance"] for s in benchmark["scores"] if s["name"] == "accuracy_clean"), None)
        values = []
        for line in history.evaluations:
            noted, clean = measured(line, f"{key}/relative_drop_limit"), measured(line, f"{key}/accuracy_clean")
            limit = noted.value if noted else None
            if limit is None and chance is not None and clean and clean.value is not None and clean.value > chance:
                limit = 1 - chance / clean.value
            if limit is not None:
                values.append((line["samples_seen"], limit))
        if values:
            done.add(key)
            yield Bound(f"limit of {curve.name}", tuple(values))
