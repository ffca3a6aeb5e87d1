# SPDX-License-Identifier: Apache-2.0
"""Ranks that meet before training, and ranks that wait for one that never comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clip_align.errors import RunError
from clip_align.testing.gloo_ranks import free_port
from clip_align.training.rendezvous import Patience, connected, own_store

SCRIPT = Path(__file__).with_name("meeting_rank.py")
ROOT = Path(__file__).resolve().parents[2]


LONG_S = 1200.0
RUNS = os.devnull  # a clock that runs from the beginning


def start(
    rank: int, world: int, first_limit_s: float, limit_s: float, port: int, clock: str = ""
) -> subprocess.Popen[str]:
    """A rank as a process; ``clock``: see `meeting_rank`."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, SCRIPT, str(rank), str(world), str(first_limit_s), str(limit_s), clock]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    try:
        output = process.communicate(timeout=600)[0]
    finally:
        process.kill()
    return process.returncode, output.splitlines()


def test_the_first_rank_says_who_has_not_come_and_gives_up() -> None:
    port = free_port()
    code, lines = ended(start(0, 2, LONG_S, 3.5, port, RUNS))
    state = f"ranks: 1 of 2 ranks have joined at 127.0.0.1:{port}, rank 1 not yet; "
    assert code == 1
    assert len(lines) >= 2
    assert all(re.fullmatch(re.escape(state) + r"waited \d s, giving up in \d s", line) for line in lines[:-1]), lines
    assert re.fullmatch(
        re.escape(state) + r"gave up after \d s: start every rank, and let their machines reach that address "
        r"\(trainer\.stall_limit_seconds is the limit\)",
        lines[-1],
    )


def test_another_rank_says_that_the_first_does_not_answer_and_gives_up() -> None:
    port = free_port()
    code, lines = ended(start(1, 2, 2.5, LONG_S, port, RUNS))
    state = f"ranks: rank 0 does not answer at 127.0.0.1:{port} yet; "
    assert code == 1
    assert re.fullmatch(re.escape(state) + r"waited \d s, giving up in \d s", lines[0]), lines
    assert re.fullmatch(
        re.escape(state) + r"gave up after \d s: start every rank, and let their machines reach that address", lines[-1]
    )


@pytest.mark.slow
def test_a_rank_whose_first_one_gives_up_says_that_it_is_lost(tmp_path: Path) -> None:
    """Of three ranks the last one never comes."""
    port = free_port()
    first, other = start(0, 3, LONG_S, 12, port, str(tmp_path / "runs")), start(1, 3, LONG_S, LONG_S, port)
    assert other.stdout is not None
    try:
        while ": 2 of 3 ranks have joined" not in (line := other.stdout.readline()):
            assert line, "it has ended"
        (tmp_path / "runs").touch()
        (code, lines), (other_code, others) = ended(first), ended(other)
    finally:
        first.kill()
        other.kill()
    assert (code, other_code) == (1, 1)
    assert f"ranks: 2 of 3 ranks have joined at 127.0.0.1:{port}, rank 2 not yet; gave up after " in lines[-1], lines
    assert others[-1] == f"ranks: the connection to rank 0 at 127.0.0.1:{port} is lost; its own output says why"


def test_ranks_that_all_come_meet_in_any_order() -> None:
    port = free_port()
    other = start(1, 2, LONG_S, LONG_S, port)
    time.sleep(1.0)
    first = start(0, 2, LONG_S, LONG_S, port)
    found = [ended(process) for process in (first, other)]
    assert [(code, lines[-1]) for code, lines in found] == [(0, "met"), (0, "met")], found


def test_a_port_that_is_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = own_store(2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    with pytest.raises(RunError) as raised:
        connected(0, 2, Patience(1.0, "", 1.0, lambda line: None))
    assert str(raised.value) == (
        f"ranks: rank 0 cannot listen at 127.0.0.1:{port} (address already in use); set MASTER_PORT to a port that "
        "nobody uses, and MASTER_ADDR to an address of rank 0's machine"
    )


def test_a_store_for_children_is_open_before_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is only chosen may be somebody else's when rank 0 has prepared the run."""
    store, port = own_store(2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    other = connected(1, 2, Patience(5.0, "", 5.0, lambda line: None))
    other.set("met/1", "")
    assert store.check(["met/1"])
    assert own_store(2)[1] != port


def test_a_long_wait_is_reported_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [0.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 1.0))
    patience = Patience(200.0, "", 60.0, lines.append)
    for _ in range(200):
        patience.look_again(lambda: "nobody")
    with pytest.raises(RunError, match=r"^ranks: nobody; gave up after 200 s: "):
        patience.look_again(lambda: "nobody")
    assert lines == [
        "ranks: nobody; waited 60 s, giving up in 2 min",
        "ranks: nobody; waited 120 s, giving up in 80 s",
        "ranks: nobody; waited 180 s, giving up in 20 s",
    ]
