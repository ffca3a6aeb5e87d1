# SPDX-License-Identifier: Apache-2.0
"""One run that is killed and resumed: its folder, and the processes that train in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import code_of, forked, lines
from ways_to_end import LEFT_S

from clip_align.runs.folder import leftovers

RUN_S = 300.0  # that a run may take; one that hangs is a failure
LOOK_S = 0.002  # between two looks at the files of a run: writing a checkpoint takes some milliseconds


class Kill(NamedTuple):
    """The last step in the record of a run that was killed, and whether that left a half-written checkpoint."""

    step: int
    in_checkpoint: bool

    def __str__(self) -> str:
        """For the lines that are printed."""
        return f"{self.step}{' in a checkpoint' if self.in_checkpoint else ''}"


@dataclass
class Run:
    """A run's folder, and the process that trains in it, a session's leader."""

    folder: Path
    arguments: Sequence[str]
    process: Any = None
    starts: int = 0

    def start(self, how: Callable[..., Any] = forked) -> None:
        """Begin or resume; ``how``: in a fork of a process that has imported everything, or as a command (`real`)."""
        self.starts += 1
        self.process = how([*self.arguments, f"name={self.folder.name}", "resume=auto"], self.output)

    def finish(self, how: Callable[..., Any] = forked) -> str:
        """Train to the end; what went wrong, else empty. ``how``: see `start`."""
        self.start(how)
        try:
            code = code_of(self.process, RUN_S)
        except (TimeoutError, subprocess.TimeoutExpired):
            self.kill()
            return f"not at its end after {RUN_S:.0f} s"
        last = next(iter(self.output.read_text().splitlines()[-1:]), "")
        return "" if code == 0 else f"ended with {code}: {last}"

    @property
    def output(self) -> Path:
        """What the latest process of it has printed."""
        return self.folder.parent / f"{self.folder.name}-{self.starts}.out"

    @property
    def ended(self) -> bool:
        """Whether the latest process of it has."""
        process = self.process
        return (process.poll() if isinstance(process, subprocess.Popen) else process.exitcode) is not None

    def kill(self) -> None:
        """SIGKILL to all processes of the run at once; then none is left."""
        limit = time.monotonic() + LEFT_S
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # at once: looking for the others takes longer than a write
        while pids := of_session(self.process.pid):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > limit:
                raise RuntimeError(f"processes {pids} do not end")
            time.sleep(0.05)

    @property
    def step(self) -> int:
        """Of the last train line of its record."""
        return max((line["global_step"] for line in lines(self.folder, "train")), default=0)

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is half-written."""
        return bool(leftovers(self.folder / "checkpoints"))


def killed(run: Run, at: int, in_checkpoint: bool, later_s: float) -> Kill | None:
    """Start or resume a run and kill it; None where it came to its end before. TimeoutError for one that hangs.

    Args:
        run: that is killed.
        at: step of its record from which on it is.
        in_checkpoint: while the next checkpoint is being written.
        later_s: seconds after that, else.
    """
    run.start()
    limit = time.monotonic() + RUN_S
    while not run.ended and run.step < at:
        if time.monotonic() > limit:
            run.kill()
            raise TimeoutError(f"hung at step {run.step}")
        time.sleep(10 * LOOK_S)
    while in_checkpoint and not run.ended and not run.writing:
        time.sleep(LOOK_S)
    if not in_checkpoint:
        time.sleep(later_s)
    if run.ended:
        return None
    run.kill()
    return Kill(run.step, run.writing)


def of_session(leader: int) -> list[int]:
    """Living processes of a session; the ranks, workers and helpers of a run stay in that of its first process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(path.parent.name))
    return found
