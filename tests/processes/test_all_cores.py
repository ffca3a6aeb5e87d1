# SPDX-License-Identifier: Apache-2.0
"""A process of its own over all cores: it and its workers end with whoever needs them, also where one is stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from clip_align.processes import all_cores
from clip_align.processes.all_cores import half_made, own_process, remove_stale

WORKS = """
import os, time
from clip_align.processes.all_cores import pool_of_workers
from clip_align.processes.stop_signals import unwind_on_signals
unwind_on_signals()
pool = pool_of_workers(2)
print(os.getpid(), *{pool.submit(os.getpid).result() for _ in range(50)}, flush=True)
pool.submit(time.sleep, 600)
time.sleep(600)
"""


def gone(pids: list[int], seconds: float = 120.0) -> bool:
    """Whether all processes end within that time (one that nobody has waited for yet counts as ended)."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if all(map(_ended, pids)):
            return True
        time.sleep(0.1)
    return False


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("stopped", [False, True])
def test_a_block_that_is_left_early_ends_the_process_and_its_workers(
    stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_cores, "END_S", 2.0)
    pids: list[int] = []

    def interrupted() -> None:
        with own_process(["-c", WORKS]) as process:
            assert process.stdout is not None
            pids.extend(map(int, process.stdout.readline().split()))
            if stopped:
                os.kill(pids[0], signal.SIGSTOP)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) >= 2
    assert gone(pids)


def test_what_was_left_half_made_long_ago_is_taken_away(tmp_path: Path) -> None:
    old, new, file = half_made(tmp_path / "a"), half_made(tmp_path / "a"), half_made(tmp_path / "b.npy")
    for folder in (old, new):
        (folder / "deep").mkdir(parents=True)
    file.write_bytes(b"x")
    assert len({old, new}) == 2
    for path in (old, file):
        os.utime(path, (time.time() - all_cores.STALE_SECONDS - 1,) * 2)
    remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [new]
