# SPDX-License-Identifier: Apache-2.0
"""The run's folder, record and provenance as they are opened, by rank 0 alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from clip_align.config_plain import to_plain
from clip_align.data.progress import Notify
from clip_align.errors import Problem, UserError
from clip_align.record.record import Position, Record, read
from clip_align.runs.folder import (
    RunFolder,
    leftovers,
    lock,
    new_run,
    point_latest,
    read_provenance,
    run_name,
    write_atomic,
    write_provenance,
)
from clip_align.runs.provenance import provenance
from clip_align.tracking.build_mirrors import mirrors
from clip_align.tracking.console_lines import can_redraw
from clip_align.training.checkpoint_files import set_aside
from clip_align.training.components import RunComponents
from clip_align.training.resume import RunStart
from clip_align.training.train_log import EvaluationCosts

OF_TRACKERS = ("wandb", "tensorboard", "evaluations.csv", "train.csv")  # they would continue with what they find
WRITING_S = 3600.0  # a report of this run may be drawn at any time; what is older was left by a killed one
ORPHANS_S = 8.0  # torch's workers look every 5 s whether their parent lives
KEPT_ASIDE = ("metrics.jsonl", "items", "checkpoints", "curves.png", "report.html", "train.log", *OF_TRACKERS)


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """What rank 0 has beside the others.

    notify: takes a line for the user, also into train.log. log: takes text for train.log alone.
    """

    run: RunFolder
    record: Record
    evaluation_costs: EvaluationCosts
    notify: Notify
    log: Callable[[str], None]


def open_run(run: RunFolder, start: RunStart, components: RunComponents, world: int, argv: Sequence[str]) -> OpenedRun:
    """Note where the run comes from and begin its record; UserError where the folder cannot be written.

    Args:
        run: the folder that `folder_of` has made.
        start: where the run begins.
        components: what it is made of: data, model, callbacks.
        world: number of ranks.
        argv: the command as typed.
    """
    config = start.config
    try:
        plain = to_plain(replace(config, resume=None, dry_run=False))  # both belong to a command, not to the run
        write_atomic(run.config_yaml, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        write_provenance(run, **_provenance(start, components, world, argv, run))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(Problem("paths.runs", f"{run.path} cannot be written ({reason}); set paths.runs=…")) from None
    past = read(run.path)  # of a resumed run
    evaluation_costs = EvaluationCosts()
    watching = mirrors(run, config.tracker, to_plain(config), past, interactive=can_redraw(sys.stdout))
    # a resumed run estimates its time left from what evaluations took before
    for line in past.evaluations:
        evaluation_costs.line(line)
    record = Record(run.path, [evaluation_costs, *watching], past.benchmarks)
    samples_seen = int(start.own.get("samples_seen", 0))
    position = Position(start.step, samples_seen, components.cursor[0], start.wall_seconds)
    record.append("event", position, _started_event(start, components, world, run))
    console: Any = watching[-1]  # mirrors() puts it there
    return OpenedRun(run, record, evaluation_costs, console.notify, console.log)


class HeldFolder(NamedTuple):
    """A run's folder, and the lock on it for `release`; None where the file system has no locks."""

    run: RunFolder
    lock: int | None


def folder_of(start: RunStart) -> HeldFolder:
    """Make the run's folder, or set an old one right; nobody else can train in it until its lock is released."""
    config = start.config
    if start.folder is None:
        run = new_run(config.paths.runs, config.name, config.experiment)
        return HeldFolder(run, _lock(run))
    run = RunFolder(start.folder)
    held = _lock(run)
    if held is not None:  # without locks a second training might be writing them
        _clear_leftovers(run)
    if start.checkpoint is None:
        _keep_aside(run)
    # under the lock, and before any file of this run is written
    elif start.given_up:
        set_aside(run.checkpoints, start.given_up, start.checkpoint.name)
    runs = Path(config.paths.runs).resolve()
    if run.path.resolve().is_relative_to(runs):
        point_latest(runs, str(run.path.resolve().relative_to(runs)))
    return HeldFolder(run, held)


def _lock(run: RunFolder) -> int | None:
    """One training at a time in a folder; the lock goes with this process at the latest, however it ends.

    Loader workers of a killed training hold it for some seconds more. None where the file system has no locks, so
    that nobody can tell whether another one is under way.
    """
    limit = time.monotonic() + ORPHANS_S
    while True:
        try:
            return lock(run)
        except BlockingIOError:
            if time.monotonic() > limit:
                what = f"{run.path} is in use by a training that is under way; wait for it, or stop it"
                raise UserError(Problem("name", what)) from None
            time.sleep(0.2)


def _clear_leftovers(run: RunFolder) -> None:
    """Delete what a training that was killed in the middle of a write has left: files of a checkpoint's size.

    In these folders only the training writes, and the lock says that no other is under way; reports are written
    beside them without it.
    """
    folders = [run.checkpoints, *(path for path in run.items.rglob("*") if path.is_dir())]
    for path in (*(p for folder in folders for p in leftovers(folder)), *leftovers(run.path, WRITING_S)):
        path.unlink(missing_ok=True)


def _keep_aside(run: RunFolder) -> None:
    """The record of steps whose weights are lost goes into a folder of its own, so that a new one can begin."""
    aside = run.path / time.strftime("before-%Y%m%d-%H%M%S")
    for name in KEPT_ASIDE if run.has_steps else ():
        if (run.path / name).exists():
            aside.mkdir(exist_ok=True)
            os.replace(run.path / name, aside / name)  # renamed: large files are not copied


def _provenance(
    start: RunStart, components: RunComponents, world: int, argv: Sequence[str], run: RunFolder
) -> dict[str, Any]:
    """The first command of a run stays; those that resumed it are listed behind."""
    now = provenance(argv, start.config.seed, status="running", exit_code=None, ended=None, ranks=world)
    now |= {**_batches(start), **components.data_provenance, "stimuli": components.stimuli}
    if components.initial is not None:
        now["initial_weights"] = dict(components.initial.about)
    before = read_provenance(run)
    if start.checkpoint is None or not before:
        return now
    resumed = {key: now[key] for key in ("command", "started", "git_commit", "hardware")}
    data = start.own.get("data_fingerprint")
    if data not in (None, now["data_fingerprint"]):  # None: not known
        resumed["data_fingerprint_before"] = data
    kept = {key: before[key] for key in ("command", "started", "git_commit", "initial_weights") if key in before}
    return now | kept | {"resumed": [*before.get("resumed", []), {**resumed, "step": start.step}]}


def _batches(start: RunStart) -> dict[str, int]:
    """Both sizes: accumulation makes the global batch larger, and not what a sample is contrasted with."""
    return {"global_batch": start.global_batch, "contrastive_batch": start.contrastive_batch}


def _started_event(start: RunStart, components: RunComponents, world: int, run: RunFolder) -> dict[str, Any]:
    """Fields of the event ``started`` or ``resumed``."""
    ranks = f" on {world} ranks" if world > 1 else ""
    name, evaluations = run_name(run, start.config.paths.runs), len(components.event_steps)
    what = f"{components.model_name}, {start.max_steps} steps of {start.global_batch} samples{ranks} "
    what += f"(each contrasted with {start.contrastive_batch}), {evaluations} evaluations"
    given_up = [f"{file}: {reason}" for file, reason in start.given_up]
    if start.checkpoint is not None:
        what += f", from step {start.step}"
        what += f" on {before} rank{'s' if before > 1 else ''}" if (before := start.own["ranks"]) != world else ""
        what += f"; given up as damaged: {', '.join(given_up)}" if given_up else ""
    return {
        "event": "resumed" if start.checkpoint else "started",
        "message": f"{name}: {what}",
        "max_steps": start.max_steps,
        **_batches(start),
        "ranks": world,
        "workers": components.loader.num_workers,
        "run": name,
        "evaluations_planned": evaluations,
        "regular_every": start.config.evaluation.every_n_steps,
        **({"given_up": given_up} if given_up else {}),
    }
