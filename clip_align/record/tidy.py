# SPDX-License-Identifier: Apache-2.0
"""A record as tidy tables: one row for each score of an evaluation, each item, each line about training.

Rows are plain dictionaries, so that ``pandas.DataFrame(rows)`` and ``polars.DataFrame(rows)`` make a frame of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_align.record.items import read_items
from clip_align.record.lines import POSITION
from clip_align.record.record import History, read
from clip_align.record.schema import measured

Rows = list[dict[str, Any]]
BOUNDS = ("low", "high", "reason")


@dataclass(frozen=True, repr=False)
class Tidy:
    """A record as tables.

    scores: a row for each score of an evaluation: ``step``, ``samples``, ``benchmark``, ``score``, ``layer``,
    ``weights``, ``value``, ``low``, ``high``, ``reason``; value None where it is undefined, for ``reason``.
    training: a row for each line about training, by its keys. benchmarks: a row for each benchmark.
    folder: of the record, None without one.
    """

    scores: Rows
    training: Rows = field(default_factory=list)
    benchmarks: Rows = field(default_factory=list)
    folder: Path | None = None

    def __repr__(self) -> str:
        """Its size: the rows themselves would fill a notebook's cell."""
        steps = len({row["step"] for row in self.scores})
        parts = [f"{len(self.scores)} scores of {len(self.benchmarks)} benchmarks at {steps} steps"]
        parts += [f"{len(self.training)} lines about training"] if self.training else []
        parts += [f"in {self.folder}"] if self.folder is not None else []
        return f"Tidy({', '.join(parts)})"

    def items(self, benchmark: str) -> Rows:
        """A row for each item of a benchmark (``family/name``) at each step that is kept; empty without items.

        Columns: ``step``, ``id``, ``human``, those of clusters and conditions, and the model's values by their names.
        """
        found = read_items(self.folder, benchmark) if self.folder is not None else None
        if found is None:
            return []
        labels = {**found.clusters, **found.conditions}
        fixed = [
            {"id": name, "human": float(found.human[n]), **{k: v[n].item() for k, v in labels.items()}}
            for n, name in enumerate(found.ids)
        ]
        return [
            {"step": step, **row, **{name: values[t][n].item() for name, values in found.model.items()}}
            for t, step in enumerate(found.steps)
            for n, row in enumerate(fixed)
        ]

    def value(self, key: str, step: int | None = None) -> float | None:
        """The value of a score, ``family/name/score``, at a step, by default the last; None where it is undefined.

        KeyError where the record does not have it.
        """
        rows = [r for r in self.scores if r["key"] == key and step in (None, r["step"])]
        if not rows:
            raise KeyError(key if step is None else f"{key} at step {step}")
        found: float | None = rows[-1]["value"]
        return found


def tidy(folder: Path) -> Tidy:
    """The record in a run's folder; empty tables where there is none."""
    return of_history(read(folder), folder)


def of_history(history: History, folder: Path | None = None) -> Tidy:
    """A record that has been read, as tables.

    Args:
        history: the record.
        folder: where its items are; None: nowhere.
    """
    described = [{k: v for k, v in b.items() if k not in ("kind", *POSITION)} for b in history.benchmarks.values()]
    training = [{"step": t["global_step"], **{k: v for k, v in t.items() if k != "kind"}} for t in history.train]
    return Tidy(list(_scores(history)), training, described, folder)


def _scores(history: History) -> Iterator[dict[str, Any]]:
    for line in history.evaluations:
        known = {key for key in line if key.count("/") >= 2}
        for key in line:
            head, _, last = key.rpartition("/")
            if key not in known or (last in BOUNDS and head in known):
                continue
            family, of_family, name = key.split("/", 2)
            benchmark = f"{family}/{of_family}"
            found = measured(line, key)
            if found is None or benchmark not in history.benchmarks:
                continue  # times and weights are no scores
            plain, *suffixes = name.split("@")
            layers = [s for s in suffixes if s not in ("raw", "ema")]
            weights = [s for s in suffixes if s in ("raw", "ema")]
            yield {
                "step": line["global_step"],
                "samples": line["samples_seen"],
                "epoch": line["epoch"],
                "benchmark": benchmark,
                "score": plain,
                "layer": layers[0] if layers else "projection",
                "weights": weights[0] if weights else history.benchmarks[benchmark]["weights"],
                "key": key,
                **found._asdict(),
            }
