# SPDX-License-Identifier: Apache-2.0
"""The scores of a record as a table of text and as ``evaluations.csv``: one row for each evaluation."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from clip_align.record.lines import POSITION
from clip_align.record.record import History
from clip_align.record.schema import SHOWN, BenchmarkLine, EvaluationLine, measured, score_key
from clip_align.report.labels import count, interval, number
from clip_align.runs.folder import write_atomic

CSV = "evaluations.csv"


def table(history: History) -> str:
    """The headline scores with their intervals, a row for each evaluation; undefined ones as their reasons.

    Where a headline score is undefined, the benchmark's companions that are not have columns too.
    """
    keys = [key for benchmark in history.benchmarks.values() for key in _columns(benchmark, history.evaluations)]
    rows = [["step", "samples", *keys]]
    reasons: dict[str, str] = {}
    for line in history.evaluations:
        row = [str(line["global_step"]), count(line["samples_seen"])]
        for key in keys:
            found = measured(line, key)
            if found is not None and found.value is None:
                reasons.setdefault(key, found.reason or "undefined")
            shown = "" if found is None else number(found.value, 4)
            row.append(f"{shown} {interval(found.low, found.high, 3)}".strip() if found else shown)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"{key}: {reason}" for key, reason in reasons.items())])


def _columns(benchmark: BenchmarkLine, evaluations: Sequence[EvaluationLine]) -> list[str]:
    """Keys of the headline scores, then of the companions that have a value where a headline score has none."""
    of_role = {
        role: [score_key(benchmark, score) for score in benchmark["scores"] if score["role"] == role] for role in SHOWN
    }
    headlines, companions = of_role["headline"], of_role["companion"]
    empty = [line for line in evaluations if any(key in line and line.get(key) is None for key in headlines)]
    return [*headlines, *(key for key in companions if any(line.get(key) is not None for line in empty))]


def write_csv(history: History, folder: Path) -> Path:
    """Write ``evaluations.csv``: one column for each key of the record; undefined scores are empty cells."""
    rows = [{k: v for k, v in line.items() if k != "kind"} for line in history.evaluations]
    columns = list(dict.fromkeys([*POSITION, *(key for row in rows for key in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    write_atomic(folder / CSV, text.getvalue())
    return folder / CSV
