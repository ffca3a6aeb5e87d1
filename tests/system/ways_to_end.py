# SPDX-License-Identifier: Apache-2.0
"""Every way a run can end: what it leaves behind.

The table of all ways comes from one run of the tests: ``make ways-to-end``.

Every process of a run inherits a mark in its environment, by which those that outlive it are found.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import ROOT, SMALL, lines, provenance, reached, text, when

from clip_align.errors import visible

MARK = "CLIP_ALIGN_TEST_RUN"
LEFT_S = 90.0  # within which no process of a run is left


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended. seconds: from what ended it (else the last line of its record) to its exit. left: processes
    `LEFT_S` later. step: of the record's last line. twice: checkpoints that the record names more than once.
    """

    code: int
    seconds: float
    left: int
    status: str
    checkpoint: str
    report: bool
    last: str
    step: int
    twice: Sequence[str]
    output: str = field(repr=False, default="")

    def row(self) -> dict[str, str]:
        """What the table of all ways has of it."""
        report = "report" if self.report else "no report"
        return {
            "exit": str(self.code),
            "seconds": f"{self.seconds:.1f}",
            "left": str(self.left),
            "saved": f"{self.status}, {self.checkpoint} of {self.step}, {report}",
            "line": visible(self.last),
        }


@dataclass(frozen=True)
class Way:
    """What ends a run.

    more: arguments beside those of the small run. change: see ``changes/sitecustomize.py``. at: done to the running
    process once its record has step 10. shm: size of the /dev/shm that it sees, in KiB. disk: size of the disk that it
    writes to, in KiB. workers, ranks: with which numbers it makes sense. before: prepares the run's folder.
    """

    more: Sequence[str] = ("trainer.max_steps=999999",)
    change: str = ""
    at: Callable[[int], None] | None = None
    shm: int = 0
    disk: int = 0
    workers: Sequence[int] = (0, 2)
    ranks: Sequence[int] = (1, 2)
    before: Callable[[list[str], Path], list[str]] = lambda arguments, folder: arguments


def to_group(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: os.killpg(pid, number)


def children(pid: int, of: bytes) -> list[int]:
    """Child processes of ``pid`` whose command line has ``of``."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if of in Path(f"/proc/{p}/cmdline").read_bytes()]


def worker_of(pid: int) -> int:
    """A loader's worker of the first rank: a fork of it, with the same command line."""
    return children(pid, b"train.py")[0]


def rank_of(pid: int) -> int:
    """The second rank; of a run on one rank that one."""
    return (children(pid, b"clip_align.training.child_rank") or [pid])[0]


def to(
    which: Callable[[int], int], number: signal.Signals, then: signal.Signals | None = None
) -> Callable[[int], None]:
    """A signal to one process of the run, and a second one to its first rank."""

    def send(pid: int) -> None:
        os.kill(which(pid), number)
        if then is not None:
            time.sleep(1.0)
            os.kill(pid, then)

    return send


def damaged(arguments: list[str], folder: Path) -> list[str]:
    """A run whose checkpoints are all garbage, to be resumed."""
    done = subprocess.run(
        [sys.executable, "train.py", *arguments, "trainer.max_steps=4"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(os.urandom(4096))
    return ["resume=r", *(a for a in arguments if a.startswith("paths."))]


STALL = ("trainer.max_steps=999999", "trainer.stall_warning_seconds=6", "trainer.stall_limit_seconds=15")
WAYS = {
    "done": Way(more=()),
    "Ctrl-C": Way(at=to_group(signal.SIGINT)),
    "SIGTERM": Way(at=to_group(signal.SIGTERM)),
    "SIGHUP": Way(at=to_group(signal.SIGHUP)),
    "SIGUSR1": Way(at=to_group(signal.SIGUSR1), workers=(2,), ranks=(1,)),
    "SIGUSR2": Way(at=to_group(signal.SIGUSR2), workers=(2,), ranks=(1,)),
    "worker error": Way(change="data_error"),
    "worker killed": Way(at=to(worker_of, signal.SIGKILL), workers=(2,)),
    "worker stopped": Way(more=STALL, at=to(worker_of, signal.SIGSTOP), workers=(1,)),
    "worker stopped, SIGTERM": Way(at=to(worker_of, signal.SIGSTOP, then=signal.SIGTERM), workers=(1,)),
    "rank killed": Way(at=to(rank_of, signal.SIGKILL)),
    "rank stopped": Way(more=STALL, at=to(rank_of, signal.SIGSTOP), ranks=(2,)),
    "rank stopped, SIGTERM": Way(at=to(rank_of, signal.SIGSTOP, then=signal.SIGTERM), ranks=(2,)),
    "disk full": Way(disk=3500, more=("trainer.max_steps=40", "checkpoint.every_n_steps=4")),
    "NaN loss": Way(change="not_a_number"),
    "/dev/shm too small": Way(shm=512, workers=(2,)),
    "/dev/shm full": Way(shm=512, change="unchecked_memory", workers=(2,)),
    "damaged checkpoints": Way(more=(), before=damaged),
}


def cases() -> list[tuple[str, int, int]]:
    """Way, workers and ranks of every run."""
    return [(name, w, r) for name, way in WAYS.items() for w in way.workers for r in way.ranks]


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """A disk of this size at ``folder``; PermissionError where none can be mounted."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.decode())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def end(way: Way, workers: int, ranks: int, place: Path, cache: Path) -> RunOutcome:
    """Run, end it in this way and look what is left."""
    with contextlib.ExitStack() as stack:
        if way.disk:
            stack.enter_context(small_disk(place / "runs", way.disk))
        return _end(way, workers, ranks, place, cache)


def _end(way: Way, workers: int, ranks: int, place: Path, cache: Path) -> RunOutcome:
    folder, mark = place / "runs" / "r", secrets.token_hex(8)
    several = ["trainer=ddp", f"trainer.devices={ranks}", "data.batch_size=16"] if ranks > 1 else []
    arguments = [
        *SMALL,
        *several,
        f"data.workers={workers}",
        "name=r",
        f"paths.runs={place}/runs",
        f"paths.cache={cache}",
    ]
    arguments = way.before([*arguments, "checkpoint.best=null", *way.more], folder)
    command = [sys.executable, "train.py", *arguments]
    if way.shm:
        script = f'mount -t tmpfs -o size={way.shm}k tmpfs /dev/shm && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", MARK: mark, "CLIP_ALIGN_TEST_CHANGE": way.change}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "changes"), str(ROOT)])
    with (place / "out").open("wb") as file:
        run = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )
    try:
        if way.at is not None:
            when(reached(folder, 10), run, 400)
            way.at(run.pid)
        began = time.monotonic()
        code = run.wait(timeout=600)
        if way.at is None and (folder / "metrics.jsonl").exists():
            began = time.monotonic() - max(0.0, time.time() - (folder / "metrics.jsonl").stat().st_mtime)
        seconds = time.monotonic() - began
        left = _left(mark)
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
    output = text(place)
    shown = [line for line in output.splitlines() if line.strip()]
    about = provenance(folder) if (folder / "provenance.json").exists() else {}
    saved = sorted(p.name for p in folder.glob("checkpoints/step-*.ckpt"))
    files = [str(line["file"]) for line in lines(folder, "event") if line["event"] == "checkpoint"]
    return RunOutcome(
        code=code,
        seconds=seconds,
        left=left,
        status=str(about.get("status", "-")),
        checkpoint=_step(saved[-1]) if saved and way.before is not damaged else "-",
        report=(folder / "report.html").exists(),
        last=shown[-1].replace(str(place), "…") if shown else "",
        step=max((line["global_step"] for line in lines(folder)), default=0),
        twice=sorted({name for name in files if files.count(name) > 1}),
        output=output + str(lines(folder, "event")[-3:]),
    )


def _step(name: str) -> str:
    return f"step {int(name.removeprefix('step-').removesuffix('.ckpt'))}"


def _left(mark: str) -> int:
    """Processes of the run that are left `LEFT_S` after its end."""
    limit = time.monotonic() + LEFT_S
    while (left := len(marked(mark))) and time.monotonic() < limit:
        time.sleep(0.1)
    return left


def marked(mark: str) -> list[int]:
    """Living processes that have inherited the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found
