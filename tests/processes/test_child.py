# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.processes import child
from clip_align.processes.child import Child

SLOW = "import sys, time\nsys.stdin.read()\ntime.sleep({seconds})\n"


def ended(folder: Path, seconds: float, limit: float, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[int]]:
    monkeypatch.setattr(child, "SAID_SECONDS", 0.3)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "slow_child.py").write_text(SLOW.format(seconds=seconds))
    waits: list[int] = []
    return Child("slow_child", [], folder / "log").end("end", limit, waits.append), waits


def test_a_wait_for_a_child_that_ends_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well, waits = ended(tmp_path, 1.0, 60.0, monkeypatch)
    assert well
    assert len(waits) >= 2
    assert waits == sorted(waits)


def test_a_child_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well, waits = ended(tmp_path, 600.0, 1.0, monkeypatch)
    assert not well
    assert len(waits) >= 2


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
