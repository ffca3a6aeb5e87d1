# SPDX-License-Identifier: Apache-2.0
"""The numbers of a line that trackers and the console show: headline and companion scores that figures draw.

A score has its own key; the ends of its interval are under ``interval/``, a separate group, because trackers draw a
chart for each key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from clip_align.record.record import Drawn, History, drawn
from clip_align.record.schema import SHOWN, AnyLine, BenchmarkLine, EvaluationLine, score_key
from clip_align.report.score_variants import with_variants

INTERVAL = "interval"  # first part of the keys of the ends of intervals


class Headlines:
    """Follows the lines of a record and keeps the state that decides whether the next point is drawn.

    ``past``: the record of a resumed run so far.
    """

    def __init__(self, past: History | None = None) -> None:
        self.benchmarks: dict[str, BenchmarkLine] = dict(past.benchmarks) if past else {}
        self._recent: dict[str, list[EvaluationLine]] = {}  # last evaluations with a score
        self.samples_seen = 0
        for line in past.evaluations if past else ():
            list(self.points(line))

    def values(self, line: AnyLine) -> dict[str, float]:
        """Numbers of a train or evaluation line by key, intervals under `INTERVAL`; nothing for other lines."""
        self.samples_seen = line["samples_seen"]
        if line["kind"] == "benchmark":
            described = cast("BenchmarkLine", line)
            self.benchmarks[described["key"]] = described
        if line["kind"] == "train":
            return _numbers(line)
        if line["kind"] != "evaluation":
            return {}
        values = {k: v for k, v in _numbers(line).items() if k.startswith("time/")}
        for key, point in self.points(cast("EvaluationLine", line)):
            # not a single evaluation, which could not be withdrawn later
            if point.value is not None and point.reason is None:
                ends = {"low": point.low, "high": point.high}
                values[key] = point.value
                values |= {f"{INTERVAL}/{key}/{end}": v for end, v in ends.items() if v is not None}
        return values

    def rewind(self, step: int) -> None:
        """Forget evaluations after ``step``."""
        for key, lines in self._recent.items():
            self._recent[key] = [e for e in lines if e["global_step"] <= step]

    def higher_is_better(self, key: str) -> bool | None:
        """As declared by the score with this full key; None for ends of intervals and anything that is no score."""
        benchmark, _, name = key.rpartition("/")
        described = self.benchmarks.get(benchmark)
        for score in described["scores"] if described else ():
            # a variant (@ema, a layer) has the direction of its score
            if score["name"] in (name, name.partition("@")[0]):
                return score["higher_is_better"]
        return None

    def points(self, line: EvaluationLine) -> Iterator[tuple[str, Drawn]]:
        """(full key, latest point) of every shown score in an evaluation line."""
        for described in self.benchmarks.values():
            benchmark = with_variants(described, [line])
            for score in benchmark["scores"]:
                key = score_key(benchmark, score)
                if key not in line or score["role"] not in SHOWN:
                    continue
                # as many as decide whether a point is drawn, two at least
                recent = [*self._recent.get(key, []), line][-max(2, score["drawn_after"]) :]
                self._recent[key] = recent
                yield key, drawn(recent, benchmark["key"], score)[-1]


def _numbers(line: Mapping[str, Any] | AnyLine) -> dict[str, float]:
    return {
        k: float(v) for k, v in line.items() if "/" in k and isinstance(v, (int, float)) and not isinstance(v, bool)
    }
