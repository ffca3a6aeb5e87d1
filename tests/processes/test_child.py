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
