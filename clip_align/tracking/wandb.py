# SPDX-License-Identifier: Apache-2.0
"""Follows a run's record and logs it to wandb, in a separate process. The only module that imports wandb.

    python -m clip_align.tracking.wandb <nice> <run folder>       # started by WandbMirror, woken through stdin

Rows carry ``samples_seen``, ``global_step`` and ``epoch`` as columns; curves are drawn over ``samples_seen``. wandb's
own step is never set, because it refuses to go back. Headline and companion scores go there, the ends of their
intervals under ``interval/``; everything else stays in the record. Rows reach the disk within about 15 seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from clip_align.processes.child import be_nice, end_after_parent, words
from clip_align.record.record import Mirror, deliver
from clip_align.record.schema import AnyLine, VerdictLine
from clip_align.runs.folder import RunFolder, write_atomic
from clip_align.tracking.base import TrackedRun, Tracker
from clip_align.tracking.follow_file import Tail
from clip_align.tracking.headline_scores import Headlines
from clip_align.tracking.wandb_mirror import WandbMirror, hints, mode

INIT_SECONDS = 60.0
IMAGE_SECONDS = 60.0  # between the first two copies of the figure; the distance doubles after each one
EXIT_CODES = {"done": 0, "interrupted": 130, "terminated": 143}


def main(arguments: list[str]) -> int:
    """Log new lines of the record at each line on stdin; end on ``end <status>`` or with the parent."""
    be_nice(int(arguments[0]))
    folder = RunFolder(Path(arguments[1]))
    notify = _messages()
    mirrored = Mirrored(folder, notify)
    while True:
        received = words()
        last = next((w for w in received or () if w.startswith("end ")), None)
        mirrored.follow(final=received is None or last is not None)
        if received is None or last is not None:
            status = last.removeprefix("end ").strip() if last else "failed"
            mirrored.run.finish(exit_code=EXIT_CODES.get(status, 1))
            return 0


class Wandb(Tracker):
    """``tracker=wandb``; in the run's process it only starts the separate one."""

    def mirror(self, run: TrackedRun) -> WandbMirror | None:
        """The mirror, with its files in the run's folder; None if wandb is disabled."""
        if mode(run.settings.mode) == "disabled":
            run.notify("wandb: disabled")
            return None
        return WandbMirror(run.folder, run.settings, run.config, run.notify)


class Mirrored(Mirror):
    """A wandb run that repeats a record."""

    def __init__(self, folder: RunFolder, notify: Callable[[str], None]) -> None:
        self._folder = folder
        self._state_path = folder.wandb / "clip-align.json"
        self._state: dict[str, Any] = json.loads(self._state_path.read_text(encoding="utf-8"))
        self._tail, self._headlines = Tail(folder.metrics_jsonl), Headlines()
        self._image_stamp, self._image_due, self._image_apart = 0.0, float("-inf"), IMAGE_SECONDS
        self._best: dict[str, tuple[float, int]] = {}  # value and samples, over the whole record
        self._changed: dict[str, float] = {}  # best values that are not in the summary yet
        self.run = _start(folder, self._state, notify)
        self.run.define_metric("samples_seen")
        self._families: set[str] = set()

    def follow(self, final: bool) -> None:
        """Log the lines added since the last call."""
        for line in self._tail.lines():
            deliver(line, self)
        if self._changed:
            self.run.summary.update(self._changed)
            self._changed = {}
        self._image(final)
        # after logging: a resumed run repeats lines rather than loses them
        write_atomic(self._state_path, json.dumps(self._state))

    def line(self, line: AnyLine) -> None:
        """Log one line of the record."""
        values, kind = self._headlines.values(line), line["kind"]
        if kind in ("train", "evaluation"):
            self._changed |= self._better(values, line["samples_seen"])
            if line["global_step"] > self._state.get(kind, -1):  # a resumed run repeats steps that were logged already
                self._log(kind, values, line)
        elif kind == "verdict":
            verdict = cast("VerdictLine", line)
            self.run.summary[f"verdict/{verdict['score']}"] = verdict["sentence"] or verdict["word"]

    def rewind(self, step: int, samples: int) -> None:
        """Restrict best values to those up to ``samples``."""
        self._headlines.rewind(step)
        self._best = {key: found for key, found in self._best.items() if found[1] <= samples}

    def _log(self, kind: str, values: Mapping[str, float], line: AnyLine) -> None:
        """Log one line in one call, together with its run position."""
        where = {k: line[k] for k in ("samples_seen", "global_step", "epoch", "wall_seconds")}
        # without a step metric wandb draws curves over its own count of log calls
        for family in sorted({key.split("/", 1)[0] for key in values} - self._families):
            self.run.define_metric(f"{family}/*", step_metric="samples_seen")
            self._families.add(family)
        self.run.log({**values, **where})
        self._state[kind] = line["global_step"]

    def _better(self, values: Mapping[str, float], samples: int) -> dict[str, float]:
        """Changes of best values by a line, in the form of the summary."""
        changed: dict[str, float] = {}
        for key, value in values.items():
            higher = False if key == "train/loss" else self._headlines.higher_is_better(key)
            if higher is None:
                continue
            # an equal value keeps the samples of the earlier one
            if key not in self._best or ((value > self._best[key][0]) == higher and value != self._best[key][0]):
                self._best[key] = (value, samples)
                changed |= {f"{key}/best": value, f"{key}/best_samples": samples}
        return changed

    def _image(self, final: bool) -> None:
        """Log the figure if it was redrawn: at increasing intervals, since each copy is kept, and at the end."""
        try:
            stamp = self._folder.curves_png.stat().st_mtime
        except OSError:
            return
        if stamp == self._image_stamp or not (final or time.monotonic() >= self._image_due):
            return
        import wandb

        self._image_stamp, self._image_due = stamp, time.monotonic() + self._image_apart
        self._image_apart *= 2
        samples = self._headlines.samples_seen
        self.run.log({"curves": wandb.Image(str(self._folder.curves_png)), "samples_seen": samples})


def _start(folder: RunFolder, job: Mapping[str, Any], notify: Callable[[str], None]) -> Any:
    """The wandb run; an offline one, to be uploaded later, if the server cannot be reached."""
    try:
        run = _init(folder, job, job["mode"])
    except Exception as error:  # wandb raises errors of its own, of the network, of its service
        if job["mode"] != "online":
            raise
        notify(f"warning: wandb cannot be online ({' '.join(str(error).split())}); continuing offline")
        import wandb

        wandb.teardown()  # its service still holds the run id of the failed attempt, and would refuse it
        run = _init(folder, job, "offline")
        for text in hints(folder, "offline"):
            notify(text)
    if run.url:
        notify(f"wandb: {run.url}")
    return run


def _init(folder: RunFolder, job: Mapping[str, Any], mode: Literal["online", "offline"]) -> Any:
    import wandb

    program, sys.argv[1:] = program_of(job["command"])  # wandb reads the arguments there
    return wandb.init(
        mode=mode,
        project=job["project"],
        entity=job["entity"],
        group=job["group"],
        tags=job["tags"] or None,
        name=job["name"],
        id=job["id"],
        resume="allow",  # continue the run with this id if it exists
        dir=str(folder.path),
        config=job["config"],
        settings=wandb.Settings(
            console="off",
            init_timeout=INIT_SECONDS,
            x_stats_pid=os.getppid(),  # measure the run's process, not this one
            program=program,
            git_commit=job["git_commit"],
            git_remote_url=job["git_remote"],
            disable_git=job["git_commit"] is None,  # else it would record the commit of the current folder
        ),
    )


def program_of(command: Sequence[str]) -> tuple[str, list[str]]:
    """A command in wandb's form: the program as passed to Python, and its arguments."""
    words = list(command) or ["clip-align"]
    if words[0] == "python" and len(words) > 1:
        words = words[1:]
    if words[0] == "-m" and len(words) > 1:
        words = [f"-m {words[1]}", *words[2:]]
    return words[0], words[1:]


def _messages() -> Callable[[str], None]:
    """Redirect standard output to the log; returns a function that prints for the parent, which reads the real one."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # at the level of file descriptors: wandb's service process prints too
    sys.stdout = sys.stderr

    def notify(text: str) -> None:
        print(text, file=out, flush=True)

    return notify


if __name__ == "__main__":
    end_after_parent()
    sys.exit(main(sys.argv[1:]))
