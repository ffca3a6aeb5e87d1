# SPDX-License-Identifier: Apache-2.0
"""The record of a run: ``metrics.jsonl`` (one flat JSON object a line) and ``items/``, written as it happens.

All images, pages and trackers are made from it. A damaged line costs that line only. numpy is imported where
items are touched, torch never.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from clip_align.errors import RunError
from clip_align.record.items import ITEMS, benchmark_keys, items_csv, items_spacing, npz, step_file, steps_on_disk
from clip_align.record.items import ItemsHistory as ItemsHistory
from clip_align.record.items import read_items as read_items
from clip_align.record.lines import whole
from clip_align.runs.folder import write_atomic

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Position:
    """Where in a run: optimizer steps, samples over all ranks, epoch, seconds since the start."""

    global_step: int
    samples_seen: int
    epoch: int
    wall_seconds: float


class Mirror(Protocol):
    """Something that repeats the record elsewhere (wandb, TensorBoard, csv, console, live page)."""

    def line(self, line: Mapping[str, Any]) -> None:
        """Take one line as it was written."""

    def close(self, status: str) -> None:
        """The run has ended: done, failed, interrupted or terminated."""


class Record:
    """Appends to ``folder/metrics.jsonl`` and writes ``folder/items/``. One process of a run has one (rank 0)."""

    def __init__(self, folder: Path, mirrors: Sequence[Mirror] = ()) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mirrors = list(mirrors)
        self._position = Position(0, 0, 0, 0.0)
        self._spacing: dict[str, int] = {}  # of the items on the disk, by benchmark
        self._path = self.folder / METRICS
        self._torn = _is_torn(self._path)  # a crash may have left half a line
        self._file = self._path.open("ab", buffering=0)

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Write one line, flushed, and hand it to every mirror.

        NaN and infinities become null. A mirror that raises is dropped with one warning in the record;
        a record that cannot be written ends the run.
        """
        line = {"kind": kind, **vars(position), **{k: _json_value(v) for k, v in fields.items()}}
        self._position = position
        self._write(json.dumps(line, ensure_ascii=False, allow_nan=False))
        if kind == "event" and line.get("event") == "resumed":
            self._drop_items_after(position.global_step)
        for mirror in tuple(self._mirrors):
            self._hand_over(mirror, line)

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

        Arrays are float64, decisions int8 (int16 beyond 127 classes), in the order of ``ids``. ``every``: steps between
        the benchmark's regular events; of these no more than 500 are kept (`items_spacing`), of the few others all.
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
        """The ``items.csv`` of this benchmark where it names other items; None where it does not, or is not there.

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
            except Exception as error:
                self._drop(mirror, error)
        self._mirrors.clear()
        self._file.close()

    def _write(self, text: str) -> None:
        data = (b"\n" if self._torn else b"") + text.encode() + b"\n"
        try:
            self._torn = True  # until the whole line is there
            if self._file.write(data) != len(data):
                raise OSError("only a part of the line was written: is the disk full?")
            self._torn = False
        except OSError as error:
            raise RunError(f"record: {self._path} cannot be written ({error.strerror or error})") from None

    def _hand_over(self, mirror: Mirror, line: Mapping[str, Any]) -> None:
        try:
            mirror.line(line)
        except Exception as error:  # a tracker may fail in any way; training continues without it
            self._drop(mirror, error)

    def _drop(self, mirror: Mirror, error: Exception) -> None:
        self._mirrors.remove(mirror)
        name = type(mirror).__name__
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{name} failed and is off for the rest of the run ({reason}); the record continues"
        self.append("event", self._position, {"event": "warning", "message": message})

    def _kept(self, key: str, step: int, every: int) -> bool:
        """Whether the items of a regular event at ``step`` are kept; drops former ones that no longer are."""
        spacing = items_spacing(every, step)
        if self._spacing.get(key) != spacing:
            for old in steps_on_disk(self.folder, key):
                if old % every == 0 and old % spacing:
                    (self.folder / ITEMS / key / step_file(old)).unlink(missing_ok=True)
            self._spacing[key] = spacing
        return step % spacing == 0

    def _drop_items_after(self, step: int) -> None:
        """Items of steps that the resumed run has not made: the weights they came from are lost."""
        for key in benchmark_keys(self.folder):
            for old in steps_on_disk(self.folder, key):
                if old > step:
                    (self.folder / ITEMS / key / step_file(old)).unlink(missing_ok=True)


@dataclass(frozen=True)
class History:
    """A record as read: benchmarks by key, and the lines of each kind.

    ``evaluations`` and ``train`` are sorted by step; of a repeated step the last line counts, and lines of
    steps that a resume has taken back are left out.
    """

    benchmarks: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    damaged_lines: int = 0


class Drawn(NamedTuple):
    """One point of a curve; ``value`` None is a gap with its ``reason``."""

    line: dict[str, Any]
    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def read(folder: Path) -> History:
    """The record of a run's folder; empty where there is none yet."""
    lines, damaged = _lines(Path(folder) / METRICS)
    history = History(damaged_lines=damaged)
    train: dict[int, dict[str, Any]] = {}
    evaluations: dict[int, dict[str, Any]] = {}
    for line in lines:
        kind, step = line["kind"], line["global_step"]
        if kind == "benchmark":
            history.benchmarks[str(line.get("key"))] = line
        elif kind == "train":
            train[step] = line
        elif kind == "evaluation":
            evaluations[step] = line
        elif kind == "verdict":
            history.verdicts.append(line)
        elif kind == "event":
            history.events.append(line)
            if line.get("event") == "resumed":
                history.verdicts.clear()
                for table in (train, evaluations):
                    for late in [s for s in table if s > step]:
                        del table[late]
    history.train.extend(train[s] for s in sorted(train))
    history.evaluations.extend(evaluations[s] for s in sorted(evaluations))
    return history


def drawn(evaluations: Iterable[dict[str, Any]], benchmark: Mapping[str, Any], score: str) -> list[Drawn]:
    """The curve of one score as figures, console and trackers show it.

    A point is drawn once the score, or the one it names as ``drawn_after_of``, was defined at ``drawn_after``
    evaluations running, this one included; an evaluation that did not carry the benchmark is passed over. A lone
    evaluation is drawn, marked in ``reason``.
    """
    described: dict[str, Any] = next((s for s in benchmark.get("scores", ()) if s.get("name") == score), {})
    needed, name = int(described.get("drawn_after") or 1), f"{benchmark['key']}/{score}"
    of, variant = described.get("drawn_after_of"), score.partition("@")[1:]
    gate = f"{benchmark['key']}/{of}{''.join(variant)}" if of else name
    lines = [line for line in evaluations if name in line]
    points: list[Drawn] = []
    running = 0
    for line in lines:
        value = line[name]
        running = running + 1 if line.get(gate) is not None else 0
        low, high = line.get(f"{name}/low"), line.get(f"{name}/high")
        if value is None:
            points.append(Drawn(line, None, None, None, line.get(f"{name}/reason") or "undefined"))
        elif running >= needed:
            points.append(Drawn(line, value, low, high, None))
        elif len(lines) == 1:
            points.append(Drawn(line, value, low, high, "one evaluation"))
        else:
            times = f"{running} evaluation{'s' if running > 1 else ''} running"
            reason = f"{f'{of} ' if of else ''}defined at {times}; drawn from {needed} on"
            points.append(Drawn(line, None, None, None, reason))
    return points


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Whole lines of a record, and how many are damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return [], 0
    lines = [whole(raw) for raw in content.split(b"\n") if raw.strip()]
    good = [line for line in lines if line is not None]
    return good, len(lines) - len(good)


def _is_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # no file yet, or an empty one
        return False


def _json_value(value: Any) -> Any:
    """Plain JSON: numpy scalars and arrays as numbers and lists, what is not finite as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_value(v) for v in value]
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)
