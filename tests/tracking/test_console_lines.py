# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest
from rich.console import Console

from clip_align.data.progress import Progress
from clip_align.tracking.console_lines import Lines, can_redraw
from tests.fake_clock import Clock


def test_a_series_of_progress_has_its_first_its_last_and_one_line_every_four_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    notify = Lines(out, clock)
    for done in range(0, 1901, 100):
        clock.now = done / 50
        notify(Progress("human/tid2013_remade", done, 1900, "images made", 38 - done / 50))
    notify("ready")
    assert [x.split(" images")[0] for x in out.getvalue().splitlines()] == [
        *(f"human/tid2013_remade: {n:,} of 1,900" for n in (*range(0, 1900, 200), 1900)),
        "ready",
    ]


def test_other_series_and_other_lines_are_not_held_back() -> None:
    out = io.StringIO()
    notify = Lines(out, Clock())
    for what in (Progress("world", 1, 9), "a line", Progress("indexing shards", 1, 3), "a line", "a line"):
        notify(what)
    assert len(out.getvalue().splitlines()) == 5


def test_a_terminal_shows_a_series_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    notify = Lines(out)
    for what in (Progress("x", 1, 3), Progress("x", 2, 3), "done early", Progress("y", 3, 3)):
        notify(what)
    assert out.getvalue() == "\r\x1b[2Kx: 1 of 3\r\x1b[2Kx: 2 of 3\ndone early\n\r\x1b[2Ky: 3 of 3\n"


def test_a_dumb_terminal_is_not_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    for term, able in (("dumb", False), ("unknown", False), ("xterm-256color", True), ("", True)):
        monkeypatch.setenv("TERM", term)
        assert can_redraw(out) is able
        assert Console(file=out, force_terminal=True).is_dumb_terminal is not able
    monkeypatch.setenv("TERM", "dumb")
    Lines(out)(Progress("x", 1, 3))
    assert out.getvalue() == "x: 1 of 3\n"


@pytest.mark.parametrize("text", ["world: 5 of 9 images rendered", "5 of 5 rows lost", "step 10 of 20"])
def test_a_sentence_is_never_read_as_progress(text: str) -> None:
    out = io.StringIO()
    notify = Lines(out, Clock())
    for _ in range(3):
        notify(text)
    assert out.getvalue() == f"{text}\n" * 3
