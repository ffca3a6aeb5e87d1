# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from clip_align.report import live_report as live
from clip_align.report import page
from clip_align.report.live_report import LiveReport


def until(condition: object, seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_figure_and_page_follow_the_record_and_end_with_the_run(tmp_path: Path, synthetic: ModuleType) -> None:
    reported: list[str] = []
    mirror = LiveReport(tmp_path, reported.append)
    lines = list(synthetic.lines(60))
    synthetic.write(tmp_path, lines[:-1])
    mirror.line(lines[-2])
    assert mirror._child is not None
    os.kill(mirror._child._process.pid, signal.SIGSTOP)
    for line in lines:  # nothing waits for the drawing: as long as this lasts there is none
        mirror.line(line)
    os.kill(mirror._child._process.pid, signal.SIGCONT)
    assert until(lambda: (tmp_path / "report.html").exists())
    synthetic.write(tmp_path, lines[-1:])
    mirror.line(lines[-1])
    mirror.close("done")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">done<" in text
    assert "step <b>60 of 1500</b>" in text
    # on a busy machine
    waits = [line for line in reported if line.startswith("report: being drawn for the last time (")]
    assert [line for line in reported if line not in waits] == [
        f"live report: {tmp_path}/report.html (redrawn after each evaluation; an open page reloads every 10 s)"
    ]
    assert not (tmp_path / live.LOG).exists()


def test_a_dead_child_is_one_warning_and_the_last_report_is_still_written(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    reported: list[str] = []
    mirror = LiveReport(tmp_path, reported.append)
    assert mirror._child is not None
    mirror._child.kill()
    synthetic.run(tmp_path, last=60, status="running")
    for line in synthetic.lines(60):
        mirror.line(line)
    mirror.close("interrupted")
    assert len(reported) == 2  # the first one names the page
    assert reported[1].startswith("warning: live figure and page stopped")
    assert ">interrupted<" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_child_that_hangs_is_given_up_after_the_limit(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LIMIT_SECONDS", 0.2)
    mirror = LiveReport(tmp_path, print)
    assert mirror._child is not None
    os.kill(mirror._child._process.pid, signal.SIGSTOP)  # stopped: it neither reads nor ends
    synthetic.run(tmp_path, last=60, status="running")
    for _ in range(20_000):  # more than a pipe holds
        mirror._child.tell("x" * 8)
    mirror.close("done")
    assert not mirror._child.alive
    assert ">done<" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_child_ends_with_its_parent(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60, status="running")
    mirror = LiveReport(tmp_path, print)
    child = mirror._child
    assert child is not None
    assert child._process.stdin is not None
    child._process.stdin.close()  # what the kernel does when the parent is killed
    assert until(lambda: not child.alive)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">failed<" in text  # the provenance is still running
    assert "http-equiv" not in text


@pytest.mark.slow
@pytest.mark.parametrize("head_start", [0.0, 5.0])
def test_a_child_that_hangs_ends_after_its_parent(tmp_path: Path, head_start: float) -> None:
    """Its last redraw waits for a record that gives nothing; the parent may be gone before the child looks."""
    os.mkfifo(tmp_path / "metrics.jsonl")
    code = (
        "import sys, pathlib; from clip_align.report.live_report import LiveReport\n"
        "mirror = LiveReport(pathlib.Path(sys.argv[1]), lambda line: None)\n"
        "print(mirror._child._process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    status = Path("/proc") / parent.stdout.readline().strip() / "status"
    time.sleep(head_start)
    parent.kill()
    parent.communicate()

    def ended() -> bool:
        return not status.exists() or "State:\tZ" in status.read_text()  # nobody may be there to reap it

    assert not until(ended, 10)
    assert until(ended)


@pytest.mark.parametrize(
    ("cpu_fraction", "apart"),
    [
        (1.0, 6),  # 2 s of work: a third of a processor
        (0.1, 3),  # 2 s, nearly all of them waiting for other processes: the next redraw is due at once
    ],
)
def test_redraws_leave_the_processor_to_training_and_the_end_is_drawn_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_fraction: float, apart: int
) -> None:
    now, drawn = 0.0, list[tuple[float, str]]()

    def words(seconds: float | None = None) -> list[str]:
        nonlocal now
        now += 1.0  # an evaluation each second, until second 50
        return [""] if now < 50 else ["", "end done"]

    def write(folder: Path, *, status: str) -> None:
        nonlocal now
        drawn.append((now, status))
        now += 2.0

    monkeypatch.setattr(live, "words", words)
    monkeypatch.setattr(page, "write", write)
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    monkeypatch.setattr(live.time, "process_time", lambda: cpu_fraction * now)
    assert live.main(["0", str(tmp_path)]) == 0
    running = [second for second, status in drawn if status == "running"]
    assert running == [float(second) for second in range(1, 50, apart)]
    assert drawn[-1] == (52.0, "done")


def test_a_redraw_that_takes_long_delays_the_next_one_by_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, drawn = 0.0, list[float]()

    def words(seconds: float | None = None) -> list[str]:
        nonlocal now
        now += 1.0
        return [""] if now < 200 else ["", "end done"]

    def write(folder: Path, *, status: str) -> None:
        nonlocal now
        drawn.append(now)
        now += 20.0

    monkeypatch.setattr(live, "words", words)
    monkeypatch.setattr(page, "write", write)
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    monkeypatch.setattr(live.time, "process_time", lambda: now)
    live.main(["0", str(tmp_path)])
    assert max(b - a for a, b in pairwise(drawn)) <= 20.0 + live.LONGEST_APART + 1.0


def test_waiting_for_words_ends_after_its_time() -> None:
    code = "from clip_align.processes.child import words; print(words(0.05), flush=True); print(words(60), words(60))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"[]\n"
        process.stdin.write(b"end done\n")
        process.stdin.close()
        assert process.stdout.read() == b"['end done'] None\n"
