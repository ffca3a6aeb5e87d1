# SPDX-License-Identifier: Apache-2.0
"""Evaluate the members of a series one after the other: the same events and the same record as during training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from clip_align.callbacks.base import PerceptualCallback
from clip_align.config import TrackerConfig
from clip_align.data.progress import Notify, Progress, seconds_left
from clip_align.errors import RunError, UserError
from clip_align.evaluation.description import described
from clip_align.evaluation.encode import Context
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import DEFAULT_BATCH_SIZE, EvaluationSettings, Evaluator
from clip_align.evaluation.prepare import images_per_event
from clip_align.perception.observers import Observer
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, read
from clip_align.report import page
from clip_align.runs.folder import RunFolder, run_name, write_provenance
from clip_align.runs.provenance import provenance
from clip_align.series.claims import claimed
from clip_align.series.observer_series import ObserverEvaluator
from clip_align.series.series_record import (
    KIND,
    SeriesRecord,
    check_folder,
    check_model,
    check_options,
    done_keys,
    make_folder,
)
from clip_align.series.subject import Member, Subject, Unreadable
from clip_align.series.table import table, write_csv
from clip_align.tracking.build_mirrors import mirrors
from clip_align.tracking.console_lines import Lines, can_redraw
from clip_align.training.run_end import STATUS, RunEnd

LEAST = 12  # evaluations for a verdict about rise and fall
SETTLED_S = 10.0  # a file that cannot be read may be under way, while nobody has let it alone for so long
WATCH_S = 2.0  # between two looks for new checkpoints, or at what other processes have done


@dataclass(frozen=True, eq=False)
class SeriesSettings:
    """How a series is evaluated, and where its record goes.

    run: folder of the record. runs: ``paths.runs``. cache: of images. precision: name of ``context``, the autocast that
    models run in. batch_size: images per forward pass, None: 256. watch: wait for further members until a signal comes.
    tracker: mirrors besides console and page. seed: for the provenance.
    """

    run: RunFolder
    runs: Path
    cache: Path
    context: Context
    precision: str = "32"
    batch_size: int | None = None
    watch: bool = False
    tracker: TrackerConfig = field(default_factory=lambda: TrackerConfig(kinds={}))
    seed: int = 0


def evaluate_series(
    prepared: Callable[[Notify], tuple[Subject, Sequence[PerceptualCallback], SeriesSettings]], argv: Sequence[str]
) -> int:
    """Evaluate what the record does not have yet. Returns the exit code; errors are printed, a line each.

    0 done; 1 something failed, or a checkpoint could not be evaluated; 2 refused before the first evaluation; 130, 143
    ended by a signal, with everything recorded that was whole.

    Args:
        prepared: finds the subject and builds its callbacks; takes lines for the user, raises UserError.
        argv: the command as typed.
    """
    run_end = RunEnd()
    with run_end.signals.installed(), run_end.followed():
        subject, callbacks, settings = prepared(Lines())
        _Series(subject, callbacks, settings, run_end).run(argv)
    if run_end.folder is not None and len(read(run_end.folder).evaluations) >= LEAST:
        page.write(run_end.folder, status=STATUS.get(run_end.code, "failed"), judge=True)
    return run_end.code


class _Series:
    """One process's part in evaluating a series."""

    def __init__(
        self, subject: Subject, callbacks: Sequence[PerceptualCallback], settings: SeriesSettings, run_end: RunEnd
    ) -> None:
        self.subject, self.callbacks, self.settings, self.run_end = subject, list(callbacks), settings, run_end
        self.identity = {
            "subject": subject.identity,
            "weights": list(subject.weights),
            "precision": settings.precision,
        }
        self.record = SeriesRecord(settings.run.path)
        self.notify: Notify = Lines()
        self.log: Callable[[str], None] = lambda text: None
        self._evaluator: Evaluator | ObserverEvaluator | None = None
        self._model: EvaluatedModel | Observer | None = None
        self._now: Member | None = None
        self._given_up: dict[tuple[Path | str, int], str] = {}  # reasons, by file and when it was written
        self._progress = _Progress(subject.label)
        self._past_s = 0.0  # that earlier commands took
        self._began = time.monotonic()

    def run(self, argv: Sequence[str]) -> None:
        """All members that are there, or with ``watch`` also those to come; sets the exit code."""
        check_folder(self.settings.run, self.identity)
        members = self._members()
        first = self._first_loaded(members)
        if first is None and not self.settings.watch:
            reasons = list(self._given_up.values()) or [f"{self.subject.label}: nothing to evaluate"]
            raise UserError(*dict.fromkeys(reasons))  # one about all of them is the same for each
        self._open(members, argv)
        self._all(members)
        self._finish()
        received = self.run_end.signals.exit_code
        self.run_end.code = received or (RunError.exit_code if self._given_up else 0)
        if self._given_up and not received:
            self.run_end.ending = f"done, but for {_counted(len(self._given_up))} that could not be evaluated"

    def _members(self) -> list[Member]:
        members, bad = self.subject.members()
        for one in bad if not self.settings.watch else filter(_settled, bad):
            self._give_up(one.file, f"{one.file}: {one.reason}; it is left out")
        return [m for m in members if not self._is_given_up(m)]

    def _first_loaded(self, members: Sequence[Member]) -> Member | None:
        """Prepare for the model of the first member that can be loaded, while everything can still be refused."""
        for member in members:
            if self._prepared_for(member):
                about = [described(callback, None) for callback in self.callbacks]
                check_options(self.settings.run.path, about)
                check_model(self.settings.run, self.subject.about)
                return member
        return None

    def _open(self, members: Sequence[Member], argv: Sequence[str]) -> None:
        """Make the folder and open the record; from here on a failure is noted in them."""
        run, settings, end = self.settings.run, self.settings, self.run_end
        make_folder(run)
        end.folder = run.path
        past = read(run.path)
        lines = (*past.evaluations[-1:], *past.events[-1:])
        self._past_s = max((line["wall_seconds"] for line in lines), default=0.0)
        about = provenance(argv, settings.seed, status="running", exit_code=None, ended=None)
        batch = settings.batch_size or DEFAULT_BATCH_SIZE
        series = {**self.identity, "batch_size": batch, "about": dict(self.subject.about)}
        write_provenance(run, **about, **{KIND: series})
        watching = mirrors(run, settings.tracker, series, past, interactive=can_redraw(sys.stdout))
        console: Any = watching[-1]  # mirrors() puts it there
        end.record = self.record.open(watching)
        end.position = self._position
        self.notify, self.log = console.notify, console.log
        name, benchmarks = run_name(run, settings.runs), ", ".join(c.key for c in self.callbacks)
        last = members[-1].place.step if members and not settings.watch else None
        started = {
            "event": "started",
            "message": f"{name}: {self.subject.label}, {_counted(len(members))}, {benchmarks}",
            "max_steps": last or None,
            "run": name,
            "evaluations_planned": None if settings.watch else len(members),
            "regular_every": min((c.every_n_steps for c in self.callbacks), default=1),
        }
        end.record.append("event", self._position(), started)
        for reason in self._given_up.values():
            self._warn(reason)
        end.signals.training_starts()  # from here on a signal ends the event under way, and what is whole is kept

    def _all(self, members: list[Member]) -> None:
        """Evaluate until nothing is left, in this process or any other; then wait for more under ``watch=true``."""
        waiting = ""
        while not self._stopped():
            left = self._left(members)
            others = 0
            for number, (member, due) in enumerate(left):
                if self._stopped():
                    return
                self._progress.total(len(left) - number, self._images(due))
                others += not self._claimed(member, due)
            if left and not others:
                continue  # look again: another process may have died, and given up its checkpoint
            if not others and not self.settings.watch:
                return
            more = "waiting for more checkpoints, Ctrl-C ends"
            text = f"waiting for {_counted(others)} that other processes evaluate" if others else more
            if text != waiting:
                self.notify(f"{self.subject.label}: {text}")
            waiting = text
            self._wait()
            members = self._members() if self.settings.watch else members

    def _left(self, members: Sequence[Member]) -> list[tuple[Member, list[str]]]:
        """The members that miss benchmarks in the record, with the keys of these."""
        done = done_keys(self.settings.run.path)
        keys = [callback.key for callback in self.callbacks]
        due = [(m, [key for key in keys if key not in done.get(m.place.step, ())]) for m in members]
        return [(m, missing) for m, missing in due if missing and not self._is_given_up(m)]

    def _claimed(self, member: Member, due: Sequence[str]) -> bool:
        """Evaluate one member; returns False where another process has it, or its file is still being written."""
        with claimed(self.settings.run.path, member.place.step) as got:
            if got:
                # again, with the claim: another process may have done it since
                done = done_keys(self.settings.run.path).get(member.place.step, set())
                return self._one(member, [key for key in due if key not in done])
        return False

    def _one(self, member: Member, due: Sequence[str]) -> bool:
        if not due:
            return True
        if not self._prepared_for(member):
            return self._is_given_up(member)
        assert self._evaluator is not None  # set by `_prepared_for`
        self._now = member
        self._progress.begin(self.notify)
        if self._evaluator.evaluate(member.place.step, due, self.settings.context) is not None:
            self._progress.end()
        return True

    def _prepared_for(self, member: Member) -> bool:
        """Load a member; where its model is another one than before, prepare all benchmarks for it."""
        try:
            model = self.subject.load(member)
        except UserError as error:
            if not self.settings.watch or member.file is None or self._stays_bad(member, member.file):
                self._give_up(member.file or member.label, error.lines[0])
            return False
        if model is not self._model:
            self._evaluator = self._built(model)
            self._evaluator.prepare()
            self._model = model
        return True

    def _built(self, model: EvaluatedModel | Observer) -> Evaluator | ObserverEvaluator:
        if isinstance(model, Observer):
            return ObserverEvaluator(self.callbacks, model, self.record, self._position, self._notify, self._stopped)
        settings = EvaluationSettings(
            cache=self.settings.cache,
            record=self.record,
            batch_size=self.settings.batch_size,
            evaluated_model=model,
            interrupted=self._before_batch,
            notify=self._notify,
            log=lambda text: self.log(text),
            weights=self.subject.weights,
            notes=lambda: self.subject.notes(self._now) if self._now else {},
        )
        models = [(callback, model) for callback in self.callbacks]
        return Evaluator(models, settings, Ranks(), lambda step: self._position())

    def _notify(self, what: str | Progress) -> None:
        """To the console, once there is one."""
        self.notify(what)

    def _finish(self) -> None:
        """Table, csv and the last page, with the verdicts that the items allow."""
        history = read(self.settings.run.path)
        if history.evaluations:
            self.notify(f"table: {write_csv(history, self.settings.run.path)}")
            print(table(history), flush=True)

    def _before_batch(self) -> bool:
        batches = (self.settings.batch_size, *(callback.batch_size for callback in self.callbacks))
        self._progress.batch(min((size for size in batches if size is not None), default=DEFAULT_BATCH_SIZE))
        return self._stopped()

    def _images(self, due: Sequence[str]) -> int:
        if not isinstance(self._model, EvaluatedModel):
            return 0  # a judge has progress of its own
        return images_per_event([c for c in self.callbacks if c.key in due], self._model.image_size)

    def _wait(self) -> None:
        until = time.monotonic() + WATCH_S
        while time.monotonic() < until and not self._stopped():
            time.sleep(0.1)

    def _stopped(self) -> bool:
        return self.run_end.signals.received is not None

    def _position(self) -> Position:
        seconds = round(self._past_s + time.monotonic() - self._began, 3)
        place = self._now.place if self._now else None
        return Position(place.step, place.samples, place.epoch, seconds) if place else Position(0, 0, 0, seconds)

    def _stays_bad(self, member: Member, file: Path) -> bool:
        """Whether looking again would find the same: nobody writes the file, and it has not been replaced."""
        return _settled(Unreadable(file, "")) and member in self.subject.members()[0]

    def _is_given_up(self, member: Member) -> bool:
        return _written(member.file or member.label) in self._given_up

    def _give_up(self, which: Path | str, reason: str) -> None:
        key = _written(which)
        if key not in self._given_up:
            self._given_up[key] = reason
            if self.run_end.record is not None:  # else noted when it is opened
                self._warn(reason)

    def _warn(self, reason: str) -> None:
        if self.run_end.record is not None:
            self.run_end.record.append("event", self._position(), {"event": "warning", "message": reason})


class _Progress:
    """Images encoded over all members that are left, shown between batches."""

    def __init__(self, label: str) -> None:
        self._what, self._notify = f"evaluating {label}", cast("Notify", _nowhere)
        self._done = self._total = self._before = self._images = 0
        self._began = time.monotonic()

    def total(self, members: int, images: int) -> None:
        """So many members are left, with so many images each."""
        if images and not self._total:
            self._began = time.monotonic()
        self._total, self._images = self._done + members * images, images

    def begin(self, notify: Notify) -> None:
        """A member begins."""
        self._before, self._notify = self._done, notify

    def batch(self, images: int) -> None:
        """A batch begins."""
        if self._total and self._images:
            left = seconds_left(self._done, self._total, time.monotonic() - self._began)
            self._notify(Progress(self._what, min(self._done, self._total), self._total, "images encoded", left))
            self._done = min(self._done + images, self._before + self._images)

    def end(self) -> None:
        """A member is whole."""
        self._done = self._before + self._images


def _settled(bad: Unreadable) -> bool:
    """Whether nobody seems to be writing the file any more."""
    try:
        return time.time() - bad.file.stat().st_mtime > SETTLED_S
    except OSError:  # gone: a later look does not find it
        return False


def _written(which: Path | str) -> tuple[Path | str, int]:
    """A file with the time it was written, in ns: another one of its name may be whole."""
    try:
        return which, which.stat().st_mtime_ns if isinstance(which, Path) else 0
    except OSError:  # gone
        return which, 0


def _nowhere(what: str | Progress) -> None:
    """Before the first member."""


def _counted(members: int) -> str:
    return f"{members} checkpoint{'' if members == 1 else 's'}"
