# SPDX-License-Identifier: Apache-2.0
"""A score over training as figures, page and console show it: points, and stretches without a value."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clip_align.record.record import History, drawn
from clip_align.record.schema import BenchmarkLine, ScoreEntry, score_key


def _absent(held: bool) -> str:
    return "not drawn yet" if held else "undefined"


@dataclass(frozen=True)
class Point:
    """One evaluation of one score; ``value`` is None where it is undefined or not to be drawn, for ``reason``.

    ``held`` marks a value that exists but is not drawn yet, because the one before it was undefined.
    """

    step: int
    samples: int
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    held: bool = False

    @property
    def absent(self) -> str:
        """What stands in place of a value that is not there."""
        return _absent(self.held)


@dataclass(frozen=True)
class Curve:
    """A score over training.

    ``key`` is its full key. ``tag`` distinguishes it from another curve of the same label (its benchmark's name).
    ``leads``: it is what its panel is about, and the panel shows its reference lines and gaps.
    Where runs are compared, ``run`` is its run's label and ``place`` its place among them; ``behind``: it is one of
    several seeds, behind their mean.
    """

    key: str
    label: str
    role: str
    points: tuple[Point, ...]
    tag: str = ""
    run: str = ""
    place: int = 0
    leads: bool = False
    behind: bool = False

    @property
    def defined(self) -> list[Point]:
        """Points that have a value."""
        return [p for p in self.points if p.value is not None]

    @property
    def name(self) -> str:
        """Label and tag."""
        return tagged(self.label, self.tag)

    def samples_at(self, step: int) -> int:
        """Samples seen at an optimizer step, between evaluations in proportion; at the ends those of the nearest."""
        at = bisect_left(self.points, step, key=lambda p: p.step)
        if at == len(self.points) or self.points[at].step == step or at == 0:
            return self.points[min(at, len(self.points) - 1)].samples if self.points else 0
        before, after = self.points[at - 1], self.points[at]
        part = (step - before.step) / (after.step - before.step)
        return round(before.samples + part * (after.samples - before.samples))


@dataclass(frozen=True)
class Gap:
    """A stretch of training over which the score ``key`` is undefined, and why; ``held`` as of points."""

    start: int  # samples seen
    end: int
    reason: str
    held: bool = False
    key: str = ""

    @property
    def absent(self) -> str:
        """The word for it, as of points."""
        return _absent(self.held)


def tagged(label: str, tag: str) -> str:
    """``clean (world)``, or the label alone."""
    return f"{label} ({tag})" if tag else label


def tags(labels: Sequence[tuple[str, str]]) -> list[str]:
    """What to add to labels so that no two are the same, for (label, full key) of each score.

    Nothing where a label is the only one; else the benchmark's name, or as much more of the key as is needed.

    >>> tags([("clean", "zero_shot/world/accuracy"), ("clean", "noise/world_noise/accuracy_clean"), ("x", "a/b/c")])
    ['world', 'world_noise', '']
    """
    found = []
    for label, key in labels:
        same = [k for other, k in labels if other == label]
        forms = (_benchmark_name, benchmark_of, str)
        form = next((f for f in forms if len(set(map(f, same))) == len(same)), str)
        found.append(form(key) if len(same) > 1 else "")
    return found


def _benchmark_name(key: str) -> str:
    return key.split("/")[1] if key.count("/") > 1 else key


def benchmark_of(key: str) -> str:
    """``human/tid2013_remade`` of ``human/tid2013_remade/srocc``."""
    return key.rpartition("/")[0]


def shown_scores(history: History) -> Iterator[tuple[BenchmarkLine, ScoreEntry]]:
    """Every (benchmark, score) that the record describes."""
    for benchmark in history.benchmarks.values():
        for score in benchmark["scores"]:
            yield benchmark, score


def names_of_scores(history: History) -> dict[str, str]:
    """Label by full key, with a tag where two scores of the run have the same."""
    labels = [(score["label"], score_key(benchmark, score)) for benchmark, score in shown_scores(history)]
    return {key: tagged(label, tag) for (label, key), tag in zip(labels, tags(labels), strict=True)}


def curve_of(history: History, benchmark: BenchmarkLine, score: ScoreEntry) -> Curve:
    """One score's curve; the rule that a value is drawn only after several defined ones is applied.

    Args:
        history: the run's record.
        benchmark: whose score it is.
        score: its description, of a variant too.
    """
    key = score_key(benchmark, score)
    points = []
    for line, value, low, high, reason in drawn(history.evaluations, benchmark["key"], score):
        held = value is None and line.get(key) is not None
        points.append(Point(line["global_step"], line["samples_seen"], value, low, high, reason, held))
    return Curve(key, score["label"], score["role"], tuple(points))


def gaps_of(curve: Curve) -> list[Gap]:
    """Stretches over which a curve has no value, each with the last reason why it was undefined, or not drawn."""
    stretches: list[Gap] = []
    points = curve.points
    for i, point in enumerate(points):
        if point.value is not None:
            continue
        end = points[min(i + 1, len(points) - 1)].samples
        reason = point.reason or "undefined"
        if stretches and i and points[i - 1].value is None:
            named = stretches[-1] if point.held else Gap(0, 0, reason)
            stretches[-1] = replace(stretches[-1], end=end, reason=named.reason, held=named.held)
        else:
            stretches.append(Gap(points[max(i - 1, 0)].samples, end, reason, point.held, curve.key))
    return stretches
