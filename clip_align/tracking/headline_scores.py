# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a line a tracker or the console shows: headline and companion scores that may be drawn.

The record holds everything; trackers get what a figure shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clip_align.record.record import Drawn, History, drawn
from clip_align.report.score_variants import with_variants

SHOWN = ("headline", "companion")


class Headlines:
    """Follows the lines of a record and keeps what is needed to judge the next one.

    ``past`` is what the record held before (a resumed run).
    """

    def __init__(self, past: History | None = None) -> None:
        self.benchmarks: dict[str, Mapping[str, Any]] = dict(past.benchmarks) if past else {}
        self._recent: dict[str, list[dict[str, Any]]] = {}  # last evaluations that carried a score
        self.samples_seen = 0
        for line in past.evaluations if past else ():
            list(self.points(line))

    def values(self, line: Mapping[str, Any]) -> dict[str, float]:
        """Numbers of a train or evaluation line by key, with ``/low`` and ``/high``; nothing for other lines."""
        kind = line.get("kind")
        self.samples_seen = int(line.get("samples_seen") or 0)
        if kind == "benchmark":
            self.benchmarks[str(line["key"])] = line
        if line.get("event") == "resumed":
            self._take_back(int(line["global_step"]))
        if kind == "train":
            return _numbers(line)
        if kind != "evaluation":
            return {}
        values = {k: v for k, v in _numbers(line).items() if k.startswith("time/")}
        for key, point in self.points(line):
            if point.value is not None and point.reason is None:  # a lone evaluation could not be taken back
                bands = {f"{key}/low": point.low, f"{key}/high": point.high}
                values |= {key: point.value, **{k: v for k, v in bands.items() if v is not None}}
        return values

    def higher_is_better(self, key: str) -> bool | None:
        """As the score of this full key declares it; None for its ends of intervals and for all that is no score."""
        benchmark, _, name = key.rpartition("/")
        for score in self.benchmarks.get(benchmark, {}).get("scores", ()):
            if score["name"] in (name, name.partition("@")[0]):
                better: bool | None = score.get("higher_is_better")
                return better
        return None

    def points(self, line: Mapping[str, Any]) -> Iterator[tuple[str, Drawn]]:
        """(full key, latest point) of every shown score that an evaluation line carries."""
        for described in self.benchmarks.values():
            benchmark = with_variants(described, [line])
            for score in benchmark.get("scores", ()):
                key = f"{benchmark['key']}/{score['name']}"
                if key not in line or score.get("role") not in SHOWN:
                    continue
                recent = [*self._recent.get(key, []), dict(line)][-max(2, int(score.get("drawn_after") or 1)) :]
                self._recent[key] = recent
                yield key, drawn(recent, benchmark, score["name"])[-1]

    def _take_back(self, step: int) -> None:
        for key, lines in self._recent.items():
            self._recent[key] = [e for e in lines if e["global_step"] <= step]


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {
        k: float(v) for k, v in line.items() if "/" in k and isinstance(v, (int, float)) and not isinstance(v, bool)
    }
