# SPDX-License-Identifier: Apache-2.0
"""The record of a series: a run folder of its own, to which one or several processes append evaluations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from clip_align.errors import Problem, UserError
from clip_align.record.late_record import LateRecord
from clip_align.record.lines import POSITION
from clip_align.record.record import Mirror, Position, Record, read
from clip_align.runs.folder import RunFolder, bad_name, lock, read_provenance, unusable
from clip_align.settings.annotations import as_typed

KIND = "series"  # in the provenance: what tells the record of a series from that of a training
OF_THE_CALL = ("every_n_steps", "batch_size", "name")  # options that change no value
OF_THE_MODEL = ("model_cfg", "preprocess_cfg", "file")  # facts in the provenance on which scores depend
LEFT_OUT = ("time/evaluation_fraction",)  # evaluating is all that is done here


def series_folder(runs: Path, name: str, output: Path | None) -> RunFolder:
    """The folder of the record; nothing is made. UserError for a name that no folder can have.

    Args:
        runs: ``paths.runs``.
        name: of the folder below it.
        output: folder to use instead.
    """
    if output is None and (problem := bad_name(name)):
        raise UserError(problem)
    return RunFolder(runs / name if output is None else output)


def check_folder(run: RunFolder, identity: Mapping[str, Any]) -> None:
    """UserError where the folder holds something else than the record of this series.

    Args:
        run: of the record.
        identity: what the record holds: subject, sets of weights, precision.
    """
    other = "choose another name=… or output=…"
    if run.path.exists() and not run.path.is_dir():
        raise UserError(Problem("name", f"{run.path} is a file; {other}"))
    about = read_provenance(run)
    before = about.get(KIND)
    if not isinstance(before, dict):
        if run.has_steps or about or run.config_yaml.exists():
            raise UserError(Problem("name", f"{run.path} holds a run, and no record of a series; {other}"))
        return
    differ = [key for key, value in identity.items() if before.get(key) != value]
    if differ:
        key = differ[0]
        what = f"{run.path} holds evaluations with {key} {before.get(key)}, not {identity[key]}; {other}"
        raise UserError(Problem("name", what))


def check_model(run: RunFolder, about: Mapping[str, Any]) -> None:
    """UserError where the record has another model, or another file that is on no axis: a curve is of one model.

    Args:
        run: of the record.
        about: facts of the subject, after its first model was loaded.
    """
    before = read_provenance(run).get(KIND, {}).get("about", {})
    for key in OF_THE_MODEL:
        old, new = as_typed(before.get(key)), as_typed(about.get(key))
        if key not in before or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            name = next(name for name in {**old, **new} if old.get(name) != new.get(name))
            key, old, new = f"{key}.{name}", old.get(name), new.get(name)
        what = f"{run.path} holds evaluations with {key} {old}, not {new}; choose another name=… or output=…"
        raise UserError(Problem("name", what))


def make_folder(run: RunFolder) -> int | None:
    """Make the folder, and hold a lock on it that other evaluations share and a training does not get.

    The lock ends with this process. UserError where the folder cannot be written.
    """
    if problem := unusable(run.path):
        raise UserError(Problem("paths.runs", f"{run.path} cannot be used ({problem}); set paths.runs=… or output=…"))
    try:
        return lock(run, shared=True)
    except BlockingIOError:
        raise UserError(Problem("name", f"{run.path} is in use by a training; choose another name=…")) from None


def done_keys(folder: Path) -> dict[int, set[str]]:
    """The benchmarks, ``family/name``, that the record has at each step."""
    return {
        line["global_step"]: {"/".join(name.split("/")[:2]) for name in line if name.count("/") >= 2}
        for line in read(folder).evaluations
    }


def check_options(folder: Path, described: Iterable[Mapping[str, Any]]) -> None:
    """UserError for a benchmark that the record has with other options or in another version: one curve has one.

    Args:
        folder: of the record.
        described: the fields of each benchmark's line (`evaluation.description.described`).
    """
    before = read(folder).benchmarks
    problems = []
    for about in described:
        key = str(about["key"])
        if key not in before:
            continue
        old = {"version": before[key]["version"], **before[key]["options"]}
        new = {"version": about["version"], **about["options"]}
        names = [name for name in {**old, **new} if name not in OF_THE_CALL]
        differ = [name for name in names if not _same(as_typed(old.get(name)), as_typed(new.get(name)))]
        if differ:
            name = differ[0]
            what = f"{new.get(name)!r}, and the record in {folder} has {old.get(name)!r}; choose another name=…"
            problems.append(Problem(f"callbacks.{key.rpartition('/')[2]}.{name}", what, shown=f"{key}: {name}"))
    if problems:
        raise UserError(*problems)


class SeriesRecord(LateRecord):
    """A `RecordWriter` that completes what the record already has of a step, opened once all is prepared."""

    not_open: ClassVar[str] = "the record of this series is not open"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def open(self, mirrors: Sequence[Mirror]) -> Record:
        """Open the record."""
        self._record = Record(self.folder, mirrors)
        return self._record

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Write one line; an evaluation with what an earlier one of the step has of other benchmarks."""
        if kind == "evaluation":
            same = [e for e in read(self.folder).evaluations if e["global_step"] == position.global_step]
            kept = {k: v for line in same for k, v in line.items() if k not in ("kind", *POSITION)}
            fields = {key: value for key, value in {**kept, **fields}.items() if key not in LEFT_OUT}
        super().append(kind, position, fields)


def _same(old: Any, new: Any) -> bool:
    """Whether two values of an option are equal, or paths that end alike: a cache that has moved."""
    if isinstance(old, str) and isinstance(new, str) and os.path.isabs(old) and os.path.isabs(new):
        return Path(old).name == Path(new).name
    return bool(old == new)
