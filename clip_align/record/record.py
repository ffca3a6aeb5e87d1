# SPDX-License-Identifier: Apache-2.0
"""The record of a run: ``metrics.jsonl`` (one flat JSON object per line) and ``items/``, written during the run.

All figures, pages and trackers are made from it. A damaged line is skipped. NumPy is imported only for items, torch
never.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from clip_align.errors import RunError
from clip_align.record.items import ITEMS, benchmark_keys, items_csv, items_spacing, npz, step_file, steps_on_disk
from clip_align.record.items import ItemsHistory as ItemsHistory
from clip_align.record.items import read_items as read_items
from clip_align.record.lines import as_read, whole
from clip_align.record.schema import (
    AnyLine,
    BenchmarkLine,
    EvaluationLine,
    EventLine,
    ScoreEntry,
    TrainLine,
    VerdictLine,
    measured,
)
from clip_align.runs.folder import write_atomic

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Position:
    """A run position: optimizer steps, samples over all ranks, epoch, seconds since the start."""

    global_step: int
    samples_seen: int
    epoch: int
    wall_seconds: float


class Mirror:
    """Something that repeats the record elsewhere (wandb, TensorBoard, csv, console, live page)."""

    def line(self, line: AnyLine) -> None:
        """Process one line (types checked, defaults filled in)."""

    def rewind(self, step: int, samples: int) -> None:
        """A run was resumed: drop everything after ``step`` (optimizer steps) and ``samples`` (over all ranks)."""

    def close(self, status: str) -> None:
        """The run has ended: done, failed, interrupted or terminated."""


def deliver(line: AnyLine, mirror: Mirror) -> None:
    """Pass a line to a mirror; before a resumption, rewind the mirror to the step of the checkpoint."""
    if is_resumption(line):
        mirror.rewind(line["global_step"], line["samples_seen"])
    mirror.line(line)


def is_resumption(line: Mapping[str, Any] | AnyLine) -> bool:
    """Whether the line is a resumption: later steps that were written before it are not part of the run."""
    return line["kind"] == "event" and line.get("event") == "resumed"


class Record:
    """Appends to ``folder/metrics.jsonl`` and writes ``folder/items/``. One process of a run has one (rank 0).

    Args:
        folder: of the run.
        mirrors: that follow the record.
        described: benchmark lines that the record has by now, by key: a resumed run does not repeat them.
    """

    def __init__(
        self, folder: Path, mirrors: Sequence[Mirror] = (), described: Mapping[str, BenchmarkLine] | None = None
    ) -> None:
        self.folder = Path(folder)
        self._described = dict(described or {})
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mirrors = list(mirrors)
        self._position = Position(0, 0, 0, 0.0)
        self._spacing: dict[str, int] = {}  # of the items on the disk, by benchmark
        self._path = self.folder / METRICS
        self._torn = _is_torn(self._path)  # a crash may have left half a line
        self._file = self._path.open("ab", buffering=0)  # a line is in the file once it is written, whatever happens

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Write one line, flush it, and pass it to every mirror.

        NaN and infinities become null. A mirror that raises is dropped with a warning in the record; if the record
        cannot be written the run ends.

        Args:
            kind: ``benchmark``, ``train``, ``evaluation``, ``verdict`` or ``event``.
            position: position in the run.
            fields: the line's further keys (`record.schema`).
        """
        line = {"kind": kind, **vars(position), **{k: _json_value(v) for k, v in fields.items()}}
        self._position = position
        if kind == "benchmark" and self._is_described(line):
            return
        self._write(json.dumps(line, ensure_ascii=False, allow_nan=False))
        if is_resumption(line):
            self._drop_items_after(position.global_step)  # after the line: a crash in between leaves items too many
        read = as_read(line)  # mirrors see what a reader of the file sees
        if read is None:
            return
        for mirror in tuple(self._mirrors):  # a copy: a mirror that fails is removed
            try:
                deliver(read, mirror)
            except Exception as error:  # a tracker may fail in any way; training continues without it
                self._drop(mirror, error)

    def write_items(
        self,
        key: str,
        step: int,
        ids: Sequence[str],
        clusters: Mapping[str, ArrayLike],
        conditions: Mapping[str, ArrayLike],
        human: ArrayLike,
        model: Mapping[str, ArrayLike],
        every: int,
    ) -> None:
        """Items of one benchmark at one step: ``items.csv`` once, ``step-….npz`` per event.

        Args:
            key: the benchmark's key, ``family/name``.
            step: optimizer steps.
            ids: one per item, [N]; all arrays are in their order.
            clusters: by name, what each item belongs to, [N].
            conditions: by name, [N].
            human: the human value of each item, [N].
            model: by name, the model's value of each item: float64 [N]; decisions int8 (int16 beyond 127 classes).
            every: optimizer steps between the benchmark's regular events. Of these no more than 500 are kept
                (`items_spacing`), of the few others all.
        """
        folder = self.folder / ITEMS / key
        try:
            if not (folder / "items.csv").exists():
                write_atomic(folder / "items.csv", items_csv(ids, clusters, conditions, human))
            if step % every == 0 and not self._kept(key, step, every):
                return
            write_atomic(folder / step_file(step), npz(model))
        except OSError as error:
            raise RunError(f"items: {folder} cannot be written ({error.strerror or error}); free some space") from None

    def items_differ(
        self,
        key: str,
        ids: Sequence[str],
        clusters: Mapping[str, ArrayLike],
        conditions: Mapping[str, ArrayLike],
        human: ArrayLike,
    ) -> Path | None:
        """The path of this benchmark's ``items.csv`` if it has other items; None if they agree or it does not exist.

        Args:
            key: ``family/name``.
            ids, clusters, conditions, human: of the items [N], as for `write_items`.
        """
        path = self.folder / ITEMS / key / "items.csv"
        try:
            before = path.read_bytes()
        except OSError:  # none yet; what cannot be read costs the verdict, not the run
            return None
        return None if before == items_csv(ids, clusters, conditions, human).encode() else path

    def close(self, status: str) -> None:
        """Close every mirror, then the file."""
        for mirror in tuple(self._mirrors):
            try:
                mirror.close(status)
            except Exception as error:  # while the file is open: the warning is recorded
                self._drop(mirror, error)
        self._mirrors.clear()
        self._file.close()

    def _is_described(self, line: Mapping[str, Any]) -> bool:
        """Whether a benchmark line says what the record has of its benchmark already, but for its position."""
        read: Any = as_read(line)  # with the defaults that the line in the file has got when it was read
        before: Any = self._described.get(line["key"])
        if read is None or before is None:
            return False
        return all(before[name] == read[name] for name in read.keys() - Position.__annotations__.keys())

    def _write(self, text: str) -> None:
        data = (b"\n" if self._torn else b"") + text.encode() + b"\n"  # half a line stays a line of its own
        try:
            self._torn = True  # until the whole line is there
            if self._file.write(data) != len(data):
                raise OSError("only a part of the line was written: is the disk full?")
            self._torn = False
        except OSError as error:
            raise RunError(f"record: {self._path} cannot be written ({error.strerror or error})") from None

    def _drop(self, mirror: Mirror, error: Exception) -> None:
        self._mirrors.remove(mirror)
        name = type(mirror).__name__
        # one line; an error may have no text
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{name} failed and is off for the rest of the run ({reason}); recording continues"
        self.append("event", self._position, {"event": "warning", "message": message})

    def _kept(self, key: str, step: int, every: int) -> bool:
        """Whether the items of a regular event at ``step`` are kept; deletes earlier ones that no longer are."""
        spacing = items_spacing(every, step)
        if self._spacing.get(key) != spacing:
            for old in steps_on_disk(self.folder, key):
                if old % every == 0 and old % spacing:  # early and last steps are no multiples of ``every``: kept
                    (self.folder / ITEMS / key / step_file(old)).unlink(missing_ok=True)
            self._spacing[key] = spacing
        return step % spacing == 0

    def _drop_items_after(self, step: int) -> None:
        """Delete items of steps after the resumed checkpoint: their weights are lost."""
        for key in benchmark_keys(self.folder):
            for old in steps_on_disk(self.folder, key):
                if old > step:
                    (self.folder / ITEMS / key / step_file(old)).unlink(missing_ok=True)


Stepped = TypeVar("Stepped", TrainLine, EvaluationLine)


@dataclass
class History(Mirror):
    """A record as read: benchmarks by key, and the lines of each kind.

    ``evaluations`` and ``train`` are sorted by step; of a repeated step the last line counts, and lines of
    steps that a resume has taken back are left out.
    """

    benchmarks: dict[str, BenchmarkLine] = field(default_factory=dict)
    train: list[TrainLine] = field(default_factory=list)
    evaluations: list[EvaluationLine] = field(default_factory=list)
    verdicts: list[VerdictLine] = field(default_factory=list)
    events: list[EventLine] = field(default_factory=list)
    damaged_lines: int = 0

    def line(self, line: AnyLine) -> None:
        """Add the next line of the record."""
        kind = line["kind"]
        if kind == "benchmark":
            described = cast("BenchmarkLine", line)
            self.benchmarks[described["key"]] = described
        elif kind == "train":
            _put(self.train, cast("TrainLine", line))
        elif kind == "evaluation":
            _put(self.evaluations, cast("EvaluationLine", line))
        elif kind == "verdict":
            self.verdicts.append(cast("VerdictLine", line))
        elif kind == "event":
            self.events.append(cast("EventLine", line))

    def rewind(self, step: int, samples: int) -> None:
        """Drop lines after ``step``, and verdicts about them; events are kept."""
        self.verdicts.clear()  # each is about the whole curve
        del self.train[bisect_right(self.train, step, key=_step) :]
        del self.evaluations[bisect_right(self.evaluations, step, key=_step) :]


def _put(lines: list[Stepped], line: Stepped) -> None:
    """Insert a line by step; a repeated step replaces the earlier line."""
    at = bisect_left(lines, line["global_step"], key=_step)
    repeated = at < len(lines) and lines[at]["global_step"] == line["global_step"]
    lines[at : at + repeated] = [line]  # True counts 1: the line is replaced


def _step(line: TrainLine | EvaluationLine) -> int:
    return line["global_step"]


class Drawn(NamedTuple):
    """One point of a curve; ``value`` None is a gap with its ``reason``."""

    line: EvaluationLine
    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def read(folder: Path) -> History:
    """The record in a run's folder; empty if there is none yet."""
    history = History()
    try:
        content = (Path(folder) / METRICS).read_bytes()
    except OSError:
        return history
    # an empty line, such as the one behind the last break, is no damage
    for raw in filter(bytes.strip, content.split(b"\n")):
        line = whole(raw)
        if line is None:
            history.damaged_lines += 1
        else:
            deliver(line, history)
    return history


def drawn(evaluations: Iterable[EvaluationLine], benchmark: str, score: ScoreEntry) -> list[Drawn]:
    """The curve of one score as figures, console and trackers show it.

    A point is drawn if the score, or the one in ``drawn_after_of``, was defined at ``drawn_after`` consecutive
    evaluations, including this one; evaluations without the benchmark are skipped. A single evaluation is drawn, and
    marked in ``reason``.

    Args:
        evaluations: in order of their steps.
        benchmark: its key, ``family/name``.
        score: its description, or that of a variant (``srocc@layer_6``).
    """
    needed, of, name = score["drawn_after"], score["drawn_after_of"], f"{benchmark}/{score['name']}"
    variant = "".join(score["name"].partition("@")[1:])  # ``@layer_6``, or empty
    gate = f"{benchmark}/{of}{variant}" if of else name
    lines = [line for line in evaluations if name in line]
    points: list[Drawn] = []
    running = 0
    for line in lines:
        found = measured(line, name)
        if found is None:
            continue
        running = running + 1 if line.get(gate) is not None else 0
        if found.value is None or running >= needed:
            points.append(Drawn(line, *found))
        elif len(lines) == 1:  # otherwise the figure of a single evaluation would be empty
            points.append(Drawn(line, found.value, found.low, found.high, "one evaluation"))
        else:
            times = f"{running} evaluation{'s' if running > 1 else ''} running"
            reason = f"{f'{of} ' if of else ''}defined at {times}; drawn from {needed} on"
            points.append(Drawn(line, None, None, None, reason))
    return points


def _is_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # no file yet, or an empty one
        return False


def _json_value(value: Any) -> Any:
    """A value as plain JSON: NumPy scalars and arrays as numbers and lists, non-finite numbers as null."""
    if hasattr(value, "tolist"):  # NumPy's and torch's, without importing either
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_value(v) for v in value]
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)
