# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from clip_align.processes import child
from clip_align.processes.child import Child

# ends once a file of this name is there
SLOW = "import pathlib, sys, time\nsys.stdin.read()\nwhile not pathlib.Path({end!r}).exists():\n    time.sleep(0.01)\n"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    monkeypatch.setattr(child, "SAID_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "slow_child.py").write_text(SLOW.format(end=str(tmp_path / "may end")))
    return Child("slow_child", [], tmp_path / "log")


def test_a_wait_for_a_child_that_ends_is_not_silent(tmp_path: Path, slow: Child) -> None:
    waits: list[int] = []

    def waited(seconds: int) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "may end").touch()

    assert slow.end("end", 240.0, waited)
    assert len(waits) >= 3
    assert waits == sorted(waits)


def test_a_child_that_does_not_end_is_killed(slow: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(1.0, 1.0)  # one passes from each look at the clock to the next
    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    waits: list[int] = []
    assert not slow.end("end", 4.0, waits.append)
    assert waits == [2, 4]
    assert not slow.alive


def test_what_a_child_has_printed_is_there_after_its_end_and_no_pipe_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "prints.py").write_text("import sys\nprint('first')\nsys.stdin.read()\nprint('last')\n")
    prints = Child("prints", [], tmp_path / "log")
    assert prints.end("end", 60.0)
    assert prints.messages() == ["first", "last"]
    assert prints.messages() == []
    assert prints._process.stdin is not None
    assert prints._process.stdout is not None
    assert prints._process.stdin.closed
    assert prints._process.stdout.closed
    assert not prints.tell("more")
    prints.kill()
