# SPDX-License-Identifier: Apache-2.0
"""The present state of a run in a few words, followed line by line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from clip_align.record.record import History
from clip_align.report.labels import count, duration, interval, number
from clip_align.report.panels import Point
from clip_align.report.sentences import Best
from clip_align.tracking.headline_scores import Headlines

# what the headlines of a panel are called, in the order of the panels
NAMES = {"accuracy": "accuracy", "alignment": "alignment", "texture": "texture bias", "noise": "noise drop"}


class Row(NamedTuple):
    """A headline score now: ``value`` with its interval, or what stands in its place where it is not ``drawn``.

    ``remark`` says why, or what to know.
    """

    name: str
    label: str
    value: str
    remark: str
    drawn: bool = True


class Status:
    """Takes the record's lines; says how far the run is, and the latest headline scores."""

    def __init__(self, past: History | None = None) -> None:
        self._headlines = Headlines()
        self._points: dict[str, list[Point]] = {}  # kept for a resume, which takes some back
        self._best: dict[str, Best] = {}
        self._train: Mapping[str, Any] = {}
        self._evaluation: Mapping[str, Any] = {}
        self._begun: tuple[int, float] | None = None
        self._seconds = 0.0
        self.step = 0
        self.max_steps: int | None = None
        for line in (*past.benchmarks.values(), *past.evaluations) if past else ():
            self.take(line)

    def take(self, line: Mapping[str, Any]) -> None:
        """Follow one line."""
        self.step = max(self.step, int(line["global_step"]))
        self._seconds = float(line.get("wall_seconds") or 0.0)
        kind = line.get("kind")
        if self._begun is None and kind == "train":  # what came before was preparation
            self._begun = (int(line["global_step"]), self._seconds)
        if kind == "event" and line.get("max_steps"):
            self.max_steps = int(line["max_steps"])
        if line.get("event") == "resumed":
            self.step = int(line["global_step"])
            self._begun = None
            self._take_back()
        if kind in ("benchmark", "event"):
            self._headlines.values(line)
        elif kind == "train":
            self._train = line
        elif kind == "evaluation":
            self._evaluation = line
            place = int(line["global_step"]), int(line["samples_seen"])
            for key, drawn in self._headlines.points(line):
                held = drawn.value is None and line.get(key) is not None
                point = Point(*place, drawn.value, drawn.low, drawn.high, drawn.reason, held)
                self._points.setdefault(key, []).append(point)
                self._best.setdefault(key, Best()).take(point)

    def fraction_line(self) -> str | None:
        """``evaluation took 25 % of the time``, as the last evaluation has it; None before the first."""
        fraction = self._evaluation.get("time/evaluation_fraction")
        return None if fraction is None else f"evaluation took {100 * fraction:.0f} % of the time"

    def train_line(self) -> str:
        """``step 620 of 1300 · loss 2.31 · 1250 samples/s · 1 min 10 s left``."""
        parts = [f"step {self.step} of {self.max_steps}" if self.max_steps else f"step {self.step}"]
        loss, rate = self._train.get("train/loss"), self._train.get("time/samples_per_second")
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        if rate is not None:
            parts.append(f"{rate:.0f} samples/s" if rate >= 10 else f"{rate:.2g} samples/s")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)

    def evaluation_line(self) -> str:
        """Latest headline scores that the last evaluation brought, with their intervals."""
        line = self._evaluation
        scores = [f"{r.name} {r.value}" + (f" ({r.remark})" if r.remark else "") for r in self.rows(only=line)]
        samples = count(float(line.get("samples_seen") or 0))
        return f"evaluation at step {line.get('global_step')} ({samples} samples): " + " · ".join(scores)

    def rows(self, only: Mapping[str, Any] | None = None) -> list[Row]:
        """Every headline score seen so far, in the order of the figure's panels."""
        rows: list[Row] = []
        for benchmark in self._headlines.benchmarks.values():
            for score in benchmark.get("scores", ()):
                key = f"{benchmark['key']}/{score['name']}"
                if score.get("role") != "headline" or key not in self._points or (only is not None and key not in only):
                    continue
                rows.append(self._row(self._name(benchmark), key, score))
        order = list(NAMES.values())
        return sorted(rows, key=lambda r: order.index(r.name) if r.name in order else len(order))

    def seconds_left(self) -> float | None:
        """Time left, evaluation included: the record's own estimate, else from the pace so far."""
        told = self._train.get("time/left_seconds")
        if told is not None:
            return float(told)
        if not self.max_steps or self._begun is None or self.step <= self._begun[0]:
            return None
        return (self._seconds - self._begun[1]) / (self.step - self._begun[0]) * (self.max_steps - self.step)

    def _take_back(self) -> None:
        """Forget what came after the step that the run continues from."""
        kept = {key: [p for p in points if p.step <= self.step] for key, points in self._points.items()}
        self._points = {key: points for key, points in kept.items() if points}
        self._best = {key: Best(points) for key, points in self._points.items()}

    def _row(self, name: str, key: str, score: Mapping[str, Any]) -> Row:
        point = self._points[key][-1]
        label = str(score.get("label") or score["name"])
        if point.value is None:
            return Row(name, label, point.absent, point.reason or "", drawn=False)
        band = interval(point.low, point.high)
        remark = point.reason or self._best[key].below(score.get("flat_margin")) or ""
        return Row(name, label, f"{number(point.value)}{f' {band}' if band else ''}", remark)

    def _name(self, benchmark: Mapping[str, Any]) -> str:
        """What its headlines are called: after the panel, with the benchmark's own name where it is not the first."""
        name, panel = str(benchmark["key"]).split("/", 1)[1], benchmark.get("panel")
        title = NAMES.get(str(panel), name.replace("_", " "))
        first = next(b for b in self._headlines.benchmarks.values() if b.get("panel") == panel)
        return title if first["key"] == benchmark["key"] or title not in NAMES.values() else f"{title} ({name})"
