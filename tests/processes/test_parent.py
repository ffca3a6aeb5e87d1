# SPDX-License-Identifier: Apache-2.0
"""A process that ends with the one it works for, whoever has started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_align.data.workers import Workers
from clip_align.processes.parent import _ended_other

SCRIPT = """
import multiprocessing, os, sys, time
from clip_align.processes.parent import end_with_parent

def work(owner):
    end_with_parent(owner)
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(os.getpid(),)).start()
    time.sleep(600)
"""


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_ends_with_a_killed_process_also_when_a_server_has_started_it(tmp_path: Path, method: str) -> None:
    """A fork server lives as long as its processes: workers that watched it kept each other for ever."""
    script = tmp_path / "works.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(script), method], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    worker, starter = map(int, process.stdout.readline().split())
    assert (starter == process.pid) == (method != "forkserver")
    process.send_signal(signal.SIGKILL)  # not waited for: a zombie has ended, too
    limit = time.monotonic() + 120
    while not (gone(worker) and (starter == process.pid or gone(starter))):
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.wait()
    process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux has it")
def test_a_process_with_many_open_files_sees_another_end(monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    resource, fcntl = pytest.importorskip("resource"), pytest.importorskip("fcntl")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []

    def high(process: int, open_one: Callable[[int], int] = os.pidfd_open) -> int:
        low = open_one(process)
        opened.extend([low, fcntl.fcntl(low, fcntl.F_DUPFD, 1100)])
        return opened[-1]

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
        monkeypatch.setattr(os, "pidfd_open", high)
        ended = _ended_other(other.pid)
        assert not ended()
        other.communicate(b"\n")
        assert ended()
    finally:
        for file in opened:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_loader_workers_watch_the_process_that_trains() -> None:
    assert Workers().__getstate__()["_training"] == os.getpid()
