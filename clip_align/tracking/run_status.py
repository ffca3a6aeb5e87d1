# SPDX-License-Identifier: Apache-2.0
"""The state of a run as short texts, from the lines of its record."""

from __future__ import annotations

from typing import NamedTuple, cast

from clip_align.record.record import History
from clip_align.record.schema import (
    AnyLine,
    BenchmarkLine,
    EvaluationLine,
    EventLine,
    ScoreEntry,
    TrainLine,
    family_of,
    measured,
    name_of,
    score_key,
)
from clip_align.report.labels import count, duration, interval, number
from clip_align.report.panels import ONE_EACH
from clip_align.report.score_curves import Point
from clip_align.tracking.headline_scores import Headlines

NAMES = {  # names of the families' headlines, in the order of the figure's panels
    "zero_shot": "accuracy",
    "human": "alignment",
    "texture": "texture bias",
    "noise": "noise drop",
    "similarity": "similarity",
    "saliency": "saliency",
}
ENDS = {"finished", "stopped"}  # events that end a run


class Row(NamedTuple):
    """The latest value of a headline score with its interval, or a text in its place if it is not ``drawn``.

    ``remark``: the reason.
    """

    name: str
    label: str
    value: str
    remark: str
    drawn: bool = True


class Status:
    """Follows the record's lines; yields the run's progress and the latest headline scores."""

    def __init__(self, past: History | None = None) -> None:
        self._headlines = Headlines()
        self._points: dict[str, list[Point]] = {}  # kept for resuming, which removes some
        self._train: TrainLine | None = None
        self._evaluation: EvaluationLine | None = None
        self._begun: tuple[int, float] | None = None
        self._seconds = 0.0
        self.step = 0
        self.max_steps: int | None = None
        self.ended = False
        before: list[AnyLine] = [*past.benchmarks.values(), *past.evaluations] if past else []
        for line in before:
            self.take(line)

    def take(self, line: AnyLine) -> None:
        """Process one line."""
        self.step = max(self.step, line["global_step"])
        self._seconds = line["wall_seconds"]
        kind = line["kind"]
        if kind in ("benchmark", "event"):
            self._headlines.values(line)
        if kind == "event":
            event = cast("EventLine", line)
            self.max_steps = event.get("max_steps") or self.max_steps
            self.ended = event["event"] in ENDS
        elif kind == "train":
            self._train = cast("TrainLine", line)
            self._begun = self._begun or (line["global_step"], self._seconds)  # earlier time was preparation
        elif kind == "evaluation":
            self._evaluation = cast("EvaluationLine", line)
            for key, drawn in self._headlines.points(self._evaluation):
                found = measured(line, key)
                # defined, but not yet at enough consecutive evaluations to be drawn
                held = drawn.value is None and found is not None and found.value is not None
                place = line["global_step"], line["samples_seen"]
                point = Point(*place, drawn.value, drawn.low, drawn.high, drawn.reason, held)
                self._points.setdefault(key, []).append(point)

    def rewind(self, step: int) -> None:
        """Drop everything after the step from which the run is resumed."""
        self.step, self._begun, self._train = step, None, None
        self._headlines.rewind(step)
        kept = {key: [p for p in points if p.step <= step] for key, points in self._points.items()}
        self._points = {key: points for key, points in kept.items() if points}

    def evaluation_time_line(self) -> str | None:
        """``evaluation took 25 % of the time``, from the last evaluation; None before the first in training."""
        trained = self._evaluation is not None and self._evaluation["global_step"] > 0  # until step 0 all is evaluation
        fraction = self._evaluation.get("time/evaluation_fraction") if self._evaluation and trained else None
        return None if fraction is None else f"evaluation took {100 * fraction:.0f} % of the time"

    def train_line(self) -> str:
        """``step 620 of 1300 · loss 2.31 · 1250 samples/s · 1 min 10 s left``; at the end, the time taken."""
        parts = [f"step {self.step} of {self.max_steps}" if self.max_steps else f"step {self.step}"]
        loss = self._train.get("train/loss") if self._train else None
        rate = self._train.get("time/samples_per_second") if self._train else None
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        if rate is not None:
            parts.append(f"{rate:.0f} samples/s" if rate >= 10 else f"{rate:.2g} samples/s")
        left = self.seconds_left()
        if self.ended:
            parts.append(f"took {duration(self._seconds)}")
        elif left is not None:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)

    def evaluation_line(self) -> str:
        """Headline scores of the last evaluation, with their intervals."""
        line = self._evaluation
        if line is None:
            return "no evaluation yet"
        scores = [f"{r.name} {r.value}" + (f" ({r.remark})" if r.remark else "") for r in self.rows(only=line)]
        where = f"evaluation at step {line['global_step']} ({count(line['samples_seen'])} samples)"
        return f"{where}: {' · '.join(scores)}"

    def rows(self, only: EvaluationLine | None = None) -> list[Row]:
        """Every headline score seen so far, in the order of the figure's panels."""
        found: list[tuple[BenchmarkLine, ScoreEntry]] = []
        for benchmark in self._headlines.benchmarks.values():
            for score in benchmark["scores"]:
                key = score_key(benchmark, score)
                if score["role"] == "headline" and key in self._points and (only is None or key in only):
                    found.append((benchmark, score))
        order = list(NAMES)
        families = [family_of(benchmark["key"]) for benchmark, _ in found]
        ranks = [order.index(family) if family in order else len(order) for family in families]
        found = [member for _, member in sorted(zip(ranks, found, strict=True), key=lambda pair: pair[0])]
        return [self._row(benchmark, score) for benchmark, score in found]

    def seconds_left(self) -> float | None:
        """Time left, evaluation included: the record's own estimate, else from the speed so far."""
        estimate = self._train.get("time/left_seconds") if self._train else None
        if self.ended or estimate is not None:  # the estimate knows the evaluations to come
            return None if self.ended else estimate
        if not self.max_steps or self._begun is None or self.step <= self._begun[0]:
            return None
        return (self._seconds - self._begun[1]) / (self.step - self._begun[0]) * (self.max_steps - self.step)

    def _row(self, benchmark: BenchmarkLine, score: ScoreEntry) -> Row:
        key, name = score_key(benchmark, score), self._name(benchmark, score)
        point = self._points[key][-1]
        if point.value is None:
            return Row(name, score["label"], point.absent, point.reason or "", drawn=False)
        band = interval(point.low, point.high)
        return Row(name, score["label"], f"{number(point.value)}{f' {band}' if band else ''}", point.reason or "")

    def _name(self, benchmark: BenchmarkLine, score: ScoreEntry) -> str:
        """The name of a headline: after its family; with the benchmark's name if it is not the family's first,
        and with its own label where the benchmark has several. A benchmark with a panel of its own has its own name.
        """
        family, name = family_of(benchmark["key"]), name_of(benchmark["key"])
        title, tags = NAMES.get(family, family.replace("_", " ")), []
        if benchmark["panel"] in ONE_EACH:
            title = name.replace("_", " ")
        elif family not in NAMES or benchmark["key"] != self._first_of(family):
            tags.append(name)
        if sum(s["role"] == "headline" for s in benchmark["scores"]) > 1:
            tags.append(score["label"])
        if family == "texture" and score["name"].startswith(("accuracy", "kept")):  # of texture or shape alone: no bias
            title = family
        return f"{title} ({', '.join(tags)})" if tags else title

    def _first_of(self, family: str) -> str:
        """Key of the family's first benchmark among those in its common panel."""
        of = (b for b in self._headlines.benchmarks.values() if b["panel"] not in ONE_EACH)
        return next(b["key"] for b in of if family_of(b["key"]) == family)
