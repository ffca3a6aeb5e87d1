# SPDX-License-Identifier: Apache-2.0
"""A training on several ranks for somebody's program or notebook: all ranks are other processes.

A rank whose others have gone, or wait for it, cannot leave the process group in order: it ends its process. Here that
is a child (`first_rank`), which starts the others as ``python train.py`` does, and the program keeps what it holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clip_align.config import Config
from clip_align.config_plain import to_plain
from clip_align.errors import FAILED
from clip_align.processes.all_cores import own_process, pipe_of, python_path
from clip_align.processes.stop_signals import STOP_SIGNALS, exit_code, handling
from clip_align.record.record import Position, read
from clip_align.runs.folder import RunFolder
from clip_align.training.run_end import STATUS, RunEnd

END_S = 30.0  # for the child to end in order where the program cannot wait for it


def run_separately(config: Config, argv: Sequence[str]) -> RunEnd:
    """Train in a child process and the ranks that it starts; returns how the run ended.

    Signals that end a training are passed on to the child, where this is the main thread; a second Ctrl-C ends the
    child at once, as it does on the command line.

    Args:
        config: whose ``trainer`` asks for several ranks of this machine.
        argv: the command as typed, for the provenance.
    """
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        errors.touch()
        child = own_process(
            ["-m", "clip_align.training.first_rank", str(os.getpid()), str(errors)],
            end_s=END_S,
            env=_environment(),
            encoding="utf-8",
            process_group=0 if os.name == "posix" else None,  # a signal to this one's reaches it once, passed on
        )
        with child as process, handling(lambda number, frame: process.send_signal(number)):
            with contextlib.suppress(BrokenPipeError), pipe_of(process.stdin) as job:
                json.dump({"config": to_plain(config), "argv": list(argv)}, job)
            for line in pipe_of(process.stdout):
                print(line, end="", flush=True)
            code = process.wait()
        lines = errors.read_text(encoding="utf-8").splitlines()
    return _run_end(config, code, lines)


def _environment() -> dict[str, str]:
    """Of the child: as the command sets its own up, from what the program has."""
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONPATH": python_path(),
        "PYTHONIOENCODING": "utf-8",
        "MPLBACKEND": "agg",  # a notebook's may not be installed where nobody looks
    }


def _run_end(config: Config, code: int, lines: Sequence[str]) -> RunEnd:
    """How the run ended, as `run.run_inside` returns it.

    Args:
        config: of the run.
        code: of the child; negative where a signal has ended it.
        lines: its errors.
    """
    if -code in STOP_SIGNALS:  # one that came before it could handle it
        code = exit_code(-code)
    if code in STATUS:
        for line in lines:  # what failed beside a run that ended well
            print(line, file=sys.stderr, flush=True)
        lines = ()
    elif not lines:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = [f"train: the first rank {how}; what it printed is above"]
    folder = RunFolder(Path(config.resume or Path(config.paths.runs) / (config.name or "")))
    run_end = RunEnd(own_process=False, code=FAILED if code < 0 else code, reasons=tuple(lines))
    if folder.metrics_jsonl.is_file():
        run_end.folder = folder.path
        last = read(folder.path).events[-1:]
        step = last[0]["global_step"] if last else 0
        run_end.position = lambda: Position(step, 0, 0, 0.0)
    return run_end
