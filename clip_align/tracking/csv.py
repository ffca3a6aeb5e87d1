# SPDX-License-Identifier: Apache-2.0
"""``evaluations.csv`` and ``train.csv`` in the run's folder: the record as two tables, one column per key.

Undefined scores are empty cells; reasons have their own columns. A resumed run removes the rows after the step it
continues from. New columns (a benchmark that joins later) rewrite the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_align.record.record import Mirror
from clip_align.record.schema import AnyLine
from clip_align.runs.folder import write_atomic
from clip_align.tracking.base import TrackedRun, Tracker

FILES = {"evaluation": "evaluations.csv", "train": "train.csv"}


class CsvMirror(Mirror):
    """Mirror of the record. A file that exists already (a resumed run) is appended to."""

    def __init__(self, folder: Path) -> None:
        self._tables = {kind: Table(folder / name) for kind, name in FILES.items()}

    def line(self, line: AnyLine) -> None:
        """Add evaluation and train lines as rows."""
        table = self._tables.get(line["kind"])
        if table is not None:
            table.add({k: v for k, v in line.items() if k != "kind"})

    def rewind(self, step: int, samples: int) -> None:
        """Remove the rows after ``step``."""
        for table in self._tables.values():
            table.cut(step)


class Csv(Tracker):
    """``tracker=csv``."""

    def mirror(self, run: TrackedRun) -> CsvMirror:
        """Two tables in the run's folder."""
        return CsvMirror(run.folder.path)


class Table:
    """One csv file that grows by rows keyed by ``global_step``, in increasing order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns, rows = _read(path)
        self._last_step = max((_step(r) for r in rows), default=-1)
        if self.columns:  # rewrites the file: the next row must not continue a torn last line
            write_atomic(path, _text(self.columns, rows, header=True))

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; rewrite the file when it brings new columns or repeats the last step."""
        new = [k for k in row if k not in self.columns]
        step = int(row["global_step"])
        if new or step == self._last_step:  # the header changes, or a row is replaced
            kept = [r for r in _read(self.path)[1] if _step(r) != step]
            self.columns += new
            write_atomic(self.path, _text(self.columns, [*kept, row], header=True))
        else:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_text(self.columns, [row], header=False))
        self._last_step = step

    def cut(self, step: int) -> None:
        """Remove the rows after ``step``."""
        if self._last_step > step:
            kept = [r for r in _read(self.path)[1] if _step(r) <= step]
            write_atomic(self.path, _text(self.columns, kept, header=True))
            self._last_step = max(map(_step, kept), default=-1)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows, without a last line that a crash has truncated."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], []
    # up to the last line break: what follows was cut off while it was written
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    rows = [r for r in reader if _step(r) >= 0]  # others are damaged
    return list(reader.fieldnames or ()), rows


def _text(columns: list[str], rows: Sequence[Mapping[str, Any]], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def _step(row: Mapping[str, Any]) -> int:
    """Step of a row; -1 if it has none."""
    try:
        return int(row["global_step"])
    except (KeyError, TypeError, ValueError):
        return -1
