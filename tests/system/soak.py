# SPDX-License-Identifier: Apache-2.0
"""Kill runs at random moments, resume them, and compare every line of their records with those of a run left alone.

    make soak                        # 20 runs
    make soak ARGS="kills=4 seed=1"

Each run is killed (SIGKILL) several times, in turn at a random moment between its start and its end, and while a
checkpoint is being written; then it is resumed to its end. Equal have to be: all lines of the record but events, all of
their keys but ``wall_seconds`` and ``time/*``; all files of items; the weights at the end. The last line is ``N of N
identical``; the exit code is 0 only then.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from miniature_shards import samples, tar
from training_runs import ROOT, lines
from ways_to_end import LEFT_S, MARK, marked

from clip_align.errors import UserError
from clip_align.record.record import read
from clip_align.runs.folder import leftovers
from clip_align.structure import build, key

COMMON = [
    "data=webdataset", "data.crop_scale=[0.5,1.0]", "callbacks=spectral_sensitivity", "evaluation.every_n_steps=8",
    "evaluation.early_steps=[2]", "trainer.log_every_n_steps=1", "tracker=none",
    "optimizer.warmup_steps=4", "checkpoint.every_n_steps=5", "checkpoint.best=human/spectral_sensitivity/plcc",
]  # fmt: skip
SHARDS = (150, 90, 143)  # samples; an epoch ends in the middle of a run, with some left over
GLOBAL_BATCH = 64
RUN_S = 300.0  # that a run may take; one that hangs is a failure
LAST = 8  # steps before the end at which no run is killed: one that is done cannot be
LOOK_S = 0.002  # between two looks at the files of a run: writing a checkpoint takes some milliseconds


@dataclass(frozen=True)
class Setting:
    """How a run trains; ``more``: arguments beside the common ones."""

    ranks: int
    workers: int
    accumulate: int
    more: Sequence[str] = ()

    @property
    def arguments(self) -> list[str]:
        """Of ``train``."""
        several = ["trainer=ddp", f"trainer.devices={self.ranks}"] if self.ranks > 1 else ["trainer=cpu"]
        batch = GLOBAL_BATCH // self.ranks // self.accumulate
        numbers = [f"data.workers={self.workers}", f"trainer.accumulate={self.accumulate}", f"data.batch_size={batch}"]
        return [*several, *numbers, *self.more]

    def __str__(self) -> str:
        """For the lines that are printed."""
        return f"ranks {self.ranks}, workers {self.workers}, accumulate {self.accumulate}"


SETTINGS = (Setting(1, 0, 1), Setting(2, 0, 1), Setting(1, 2, 2), Setting(2, 1, 2))


@dataclass(frozen=True)
class Options:
    """kills: runs that are killed. times: how often each of them is. seed: of the moments. first, settings: so many of
    `SETTINGS`, from this one on, are used in turn. steps: of each run.
    """

    kills: int = key(20, low=1)
    times: int = key(2, low=1)
    seed: int = key(0, low=0)
    settings: int = key(len(SETTINGS), low=1, high=len(SETTINGS))
    first: int = key(0, low=0, high=len(SETTINGS) - 1)
    steps: int = key(36, low=9)


@dataclass
class Run:
    """One run's folder, and the process that trains in it."""

    folder: Path
    arguments: Sequence[str]
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Begin or resume."""
        output = self.folder.parent / f"{self.folder.name}.out"
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "train.py", *self.arguments, f"name={self.folder.name}", "resume=auto"],
                cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark},
            )  # fmt: skip
        return self.process

    def finish(self) -> str:
        """Train to the end; what went wrong, else empty."""
        process = self.start()
        try:
            code = process.wait(RUN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"not at its end after {RUN_S:.0f} s"
        return "" if code == 0 else f"ended with {code}: {self.last_line()}"

    def kill(self) -> None:
        """SIGKILL to all processes of the run at once; then none is left."""
        limit = time.monotonic() + LEFT_S
        while pids := marked(self.mark):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.wait(LEFT_S)  # else it stays as a zombie, which is no file in /proc to read
            if time.monotonic() > limit:
                raise RuntimeError(f"processes {pids} do not end")
            time.sleep(0.05)

    def last_line(self) -> str:
        """Of what it has printed."""
        return next(iter((self.folder.parent / f"{self.folder.name}.out").read_text().splitlines()[-1:]), "")

    @property
    def step(self) -> int:
        """Of the last train line of its record."""
        return max((line["global_step"] for line in lines(self.folder, "train")), default=0)

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is half-written."""
        return bool(leftovers(self.folder / "checkpoints"))


def killed(run: Run, at: int, in_checkpoint: bool, later_s: float) -> str:
    """Start or resume a run and kill it; what happened. Empty where it came to its end before.

    Args:
        run: that is killed.
        at: step of its record from which on it is.
        in_checkpoint: while the next checkpoint is being written.
        later_s: seconds after that.
    """
    process, limit = run.start(), time.monotonic() + RUN_S
    while process.poll() is None and run.step < at:
        if time.monotonic() > limit:
            run.kill()
            return f"hung at step {run.step}"
        time.sleep(10 * LOOK_S)
    while in_checkpoint and process.poll() is None and not run.writing:
        time.sleep(LOOK_S)
    if not in_checkpoint:
        time.sleep(later_s)
    if process.poll() is not None:
        return ""
    run.kill()
    return f"{run.step}{' in a checkpoint' if run.writing else ''}"


def differences(one: Path, other: Path) -> Iterator[str]:
    """What differs between two runs' folders, a line each."""
    ours, theirs = _by_kind(one), _by_kind(other)
    for kind, found in ours.items():
        for a, b in zip(map(_compared, found), map(_compared, theirs[kind]), strict=False):
            if a != b:
                keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
                yield f"{kind} line of step {a['global_step']}: {', '.join(keys)}"
        if len(found) != len(theirs[kind]):
            yield f"{len(found)} and {len(theirs[kind])} {kind} lines"
    files = [sorted(p.relative_to(f).as_posix() for p in (f / "items").rglob("*.npz")) for f in (one, other)]
    if files[0] != files[1]:
        yield f"files of items: {sorted(set(files[0]) ^ set(files[1]))}"
    else:
        yield from (f"items: {name}" for name in files[0] if not _equal_arrays(one / name, other / name))
    a, b = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in (one, other))
    yield from (f"weights: {name}" for name in a if not torch.equal(a[name], b[name]))


def _by_kind(folder: Path) -> dict[str, list[Any]]:
    """The record as every reader has it: steps that a resume has taken back are left out."""
    record = read(folder)
    described = list(record.benchmarks.values())
    return {
        "benchmark": described, "train": record.train, "evaluation": record.evaluations, "verdict": record.verdicts
    }  # fmt: skip


def _compared(line: Mapping[str, Any]) -> dict[str, str]:
    # as text: a value that is undefined would differ from itself
    return {k: json.dumps(v) for k, v in line.items() if k != "wall_seconds" and not k.startswith("time/")}


def _equal_arrays(one: Path, other: Path) -> bool:
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(a[name].tobytes() == b[name].tobytes() for name in a.files)


def soak(options: Options, place: Path, notify: Callable[[str], None]) -> tuple[int, int]:
    """Kill and compare; returns how many runs are identical to the one left alone, and how many there were.

    Args:
        options: see there.
        place: folder for runs, shards and caches.
        notify: takes lines for the user.
    """
    for number, count in enumerate(SHARDS):
        tar(place / "shards" / f"{number}.tar", samples(range(1000 * number, 1000 * number + count)))
    common = [*COMMON, f"data.shards={place}/shards", f"paths.runs={place}/runs", f"paths.cache={place}/cache"]
    (place / "runs").mkdir()
    # what is made once and cached (images, scores of untrained models) is in the record from the start on, or later
    if wrong := Run(place / "runs" / "first", [*common, *SETTINGS[0].arguments, "trainer.max_steps=2"]).finish():
        raise RuntimeError(f"the first run {wrong}")
    rng, whole, identical = random.Random(options.seed), dict[Setting, Run](), 0
    began = time.monotonic()
    for number in range(options.kills):
        setting = SETTINGS[(options.first + number % options.settings) % len(SETTINGS)]
        arguments = [*common, *setting.arguments, f"trainer.max_steps={options.steps}"]
        if setting not in whole:
            whole[setting] = Run(place / "runs" / f"whole-{len(whole)}", arguments)
            if wrong := whole[setting].finish():
                raise RuntimeError(f"the run left alone ({setting}) {wrong}")
        run = Run(place / "runs" / f"killed-{number}", arguments)
        moments = []
        for time_number in range(options.times):
            in_checkpoint = (number + time_number) % 2 == 1
            # behind what the last kill left: every kill finds a run that has come further, or starts again
            at = rng.randint(run.step, max(run.step, options.steps - LAST)) if rng.random() < 0.9 else 0
            moments.append(killed(run, at, in_checkpoint, rng.random()) or "not: it was at its end")
        wrong = run.finish()
        found = [wrong] if wrong else list(differences(whole[setting].folder, run.folder))
        identical += not found
        left = (time.monotonic() - began) / (number + 1) * (options.kills - number - 1)
        what = f"DIFFERS in {len(found)}: {found[0]}" if found else "identical"
        notify(f"{number + 1}: {setting}, killed at {', then '.join(moments)}: {what} ({left / 60:.0f} min left)")
    return identical, options.kills


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 where all are identical."""
    errors: list[Any] = []
    words = dict(a.partition("=")[::2] for a in arguments)
    numbers = {k: int(v) if v.isdigit() else v for k, v in words.items()}
    options = build(Options, numbers, "", errors)
    if errors or options is None:
        print(*UserError(*errors).lines, sep="\n", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        identical, all_of_them = soak(options, Path(place), lambda line: print(line, flush=True))
    print(f"{identical} of {all_of_them} identical")
    return 0 if identical == all_of_them else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
