# SPDX-License-Identifier: Apache-2.0
"""Kill runs at random moments, resume them, and compare every line of their records with those of a run left alone.

    make soak                        # 20 runs
    make soak ARGS="kills=4 seed=1"

Runs take the `SETTINGS` in turn. Each is killed (SIGKILL) several times, in turn at a random moment between its start
and its end, and while a checkpoint is being written; then it is resumed to its end. Shards of streamed data come over
HTTP from a server in this process, and at every second kill those that were downloaded are deleted. One run of each
setting is left alone. Equal have to be: all lines of the record but events, all of their keys but ``wall_seconds`` and
``time/*``; all files of items; which checkpoints are kept, and the weights in each. The last line is ``N of N
identical``; the exit code is 0 only then.

Killed runs, and the ones that resume them, start as forks of a process that has imported everything, which takes
several times as long as what they train; those left alone are started as users start them.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from killed_run import Kill, Run, killed
from miniature_shards import samples, tar
from run_differences import differences
from training_runs import real

from clip_align.data.streaming.shard_fetcher import FOLDER as DOWNLOADS
from clip_align.errors import UserError
from clip_align.structure import build, key
from tests.data.streaming.http_store import http_store

COMMON = [
    "data.crop_scale=[0.5,1.0]", "callbacks=spectral_sensitivity", "evaluation.every_n_steps=8",
    "evaluation.early_steps=[2]", "trainer.log_every_n_steps=1", "tracker=none",
    "optimizer.warmup_steps=4", "checkpoint.every_n_steps=5", "checkpoint.keep_per_octave=1",
    "checkpoint.best=human/spectral_sensitivity/plcc",
]  # fmt: skip
SHARDS = (75, 40, 90, 61, 117)  # samples; an epoch ends in the middle of a run, with some left over
GLOBAL_BATCH = 64
MISSED = 2  # further attempts at a kill that came when a checkpoint was just written
LAST = 8  # steps before the end at which no run is killed: one that is done cannot be


@dataclass(frozen=True)
class Setting:
    """How a run trains: on one or two ranks, and where its shards are.

    contrasted: batches that are contrasted together (``trainer.accumulate``). averaged: such batches in a step
    (``trainer.accumulate_grad_batches``).
    """

    ranks: int
    workers: int
    streaming: bool = False
    contrasted: int = 1
    averaged: int = 1

    @property
    def arguments(self) -> list[str]:
        """Of ``train``, without the place of the data."""
        return [
            *(["trainer=ddp", f"trainer.devices={self.ranks}"] if self.ranks > 1 else ["trainer=cpu"]),
            *(["data=streaming", "data.window_shards=2"] if self.streaming else ["data=webdataset"]),
            f"data.workers={self.workers}",
            f"trainer.accumulate={self.contrasted}",
            f"trainer.accumulate_grad_batches={self.averaged}",
            f"data.batch_size={GLOBAL_BATCH // self.ranks // self.contrasted // self.averaged}",
        ]

    def __str__(self) -> str:
        """For the lines that are printed."""
        data = "streaming" if self.streaming else "indexed"
        words = [f"{data}, {self.ranks} rank{'s' if self.ranks > 1 else ''}, {self.workers} workers"]
        words += [f"accumulate {self.contrasted}"] if self.contrasted > 1 else []
        words += [f"accumulate_grad_batches {self.averaged}"] if self.averaged > 1 else []
        return ", ".join(words)


# the first four hold each of the two kinds of data on one and on two ranks, and both kinds of accumulation
SETTINGS = (
    Setting(1, 0),
    Setting(2, 2, streaming=True),
    Setting(2, 0, contrasted=2),
    Setting(1, 2, streaming=True, averaged=2),
    Setting(1, 2, contrasted=2),
    Setting(1, 0, streaming=True, contrasted=2),
    Setting(2, 2, averaged=2),
    Setting(2, 0, streaming=True, contrasted=2),
)


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


class Soaked(NamedTuple):
    """What was seen: runs identical to the one left alone, runs in all, and kills in all, in a checkpoint, and with
    downloads deleted.
    """

    identical: int = 0
    runs: int = 0
    kills: int = 0
    in_checkpoint: int = 0
    emptied: int = 0


class Soak:
    """Runs in one folder, and the runs left alone that they are compared with.

    Args:
        options: see there.
        place: folder for runs and caches.
        shards: where the shards are, by whether they are streamed.
    """

    def __init__(self, options: Options, place: Path, shards: Callable[[bool], str]) -> None:
        self.options, self.place, self._shards = options, place, shards
        self._rng, self._alone = random.Random(options.seed), dict[Setting, Run]()

    def run(self, name: str, setting: Setting, steps: int) -> Run:
        """A run that is not started yet."""
        places = [f"paths.runs={self.place}/runs", f"paths.cache={self.place}/cache"]
        data = f"data.shards={self._shards(setting.streaming)}"
        arguments = [*COMMON, *setting.arguments, data, *places, f"trainer.max_steps={steps}"]
        return Run(self.place / "runs" / name, arguments)

    def alone(self, setting: Setting) -> Run:
        """The run of a setting that is left alone, trained on first use."""
        if setting not in self._alone:
            run = self.run(f"alone-{len(self._alone)}", setting, self.options.steps)
            if wrong := run.finish(real):
                raise RuntimeError(f"the run left alone ({setting}) {wrong}")
            self._alone[setting] = run
        return self._alone[setting]

    def one(self, number: int, setting: Setting) -> tuple[str, Soaked]:
        """Kill a run, resume it and compare; a line about it, and what was seen."""
        run, began = self.run(f"killed-{number}", setting, self.options.steps), time.monotonic()
        kills, emptied, wrong = list[Kill](), 0, ""
        try:
            for time_number in range(self.options.times):
                # behind what the last kill left: every kill finds a run that has come further, or starts again
                last = max(run.step, self.options.steps - LAST)
                at = self._rng.randint(run.step, last) if self._rng.random() < 0.9 else 0
                in_checkpoint = (number + time_number) % 2 == 1
                for at_step in (at, *[0] * (MISSED if in_checkpoint else 0)):
                    kill = killed(run, at_step, in_checkpoint, self._rng.random())
                    kills += [kill] if kill else []
                    if setting.streaming and time_number % 2:
                        shutil.rmtree(self.place / "cache" / DOWNLOADS, ignore_errors=True)
                        emptied += kill is not None
                    if kill is None or kill.in_checkpoint or not in_checkpoint:
                        break
            wrong = run.finish() if kills else "was never killed"  # it has shown nothing then
        except TimeoutError as error:
            wrong = str(error)
        found = [wrong] if wrong else list(differences(self.alone(setting).folder, run.folder))
        what = f"DIFFERS in {len(found)}: {found[0]}" if found else "identical"
        line = f"{setting}, killed at {', then '.join(map(str, kills))}: {what} ({time.monotonic() - began:.0f} s)"
        return line, Soaked(int(not found), 1, len(kills), sum(kill.in_checkpoint for kill in kills), emptied)


def soak(options: Options, place: Path, notify: Callable[[str], None]) -> Soaked:
    """Kill and compare, `Options.kills` times.

    Args:
        options: see there.
        place: folder for runs, shards and caches.
        notify: takes lines for the user.
    """
    for number, count in enumerate(SHARDS):
        tar(place / "shards" / f"{number}.tar", samples(range(1000 * number, 1000 * number + count)))
    (place / "runs").mkdir()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the process that runs are forks of, too
    seen, began = Soaked(), time.monotonic()
    with http_store(place / "shards") as (address, _):
        remote = f"{address}/{{0..{len(SHARDS) - 1}}}.tar"
        all_of_them = Soak(options, place, lambda streaming: remote if streaming else f"{place}/shards")
        # what is made once and cached (images, scores of untrained models) is in the record from the start on, or later
        if wrong := all_of_them.run("first", SETTINGS[0], 2).finish():
            raise RuntimeError(f"the first run {wrong}")
        for number in range(options.kills):
            setting = SETTINGS[(options.first + number % options.settings) % len(SETTINGS)]
            all_of_them.alone(setting)
            line, more = all_of_them.one(number, setting)
            seen = Soaked(*map(sum, zip(seen, more, strict=True)))
            left = (time.monotonic() - began) / (number + 1) * (options.kills - number - 1)
            notify(f"{number + 1}: {line}, {left / 60:.0f} min left")
    return seen


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 where all are identical."""
    errors: list[Any] = []
    words = dict(a.partition("=")[::2] for a in arguments)
    numbers = {k: int(v) if v.isdigit() else v for k, v in words.items()}
    options = build(Options, numbers, "", errors)
    if errors or options is None:
        print(*UserError(*errors).lines, sep="\n", file=sys.stderr)
        return 2
    # Python's own account of what killed processes have left would come behind the last line
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    with tempfile.TemporaryDirectory() as place:
        seen = soak(options, Path(place), lambda line: print(line, flush=True))
    print(f"{seen.kills} kills: {seen.in_checkpoint} in a checkpoint, {seen.emptied} with the downloads deleted")
    print(f"{seen.identical} of {seen.runs} identical")
    return 0 if seen.identical == seen.runs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
