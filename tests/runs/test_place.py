# SPDX-License-Identifier: Apache-2.0
"""Places where no run can be made are known before anything is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clip_align.runs.place import unusable_run, unwritable


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("runs/a/1", "runs/sweep/0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "config.yaml").write_text("")
    (tmp_path / "runs" / "file").write_text("")
    return tmp_path / "runs"


def test_free_places_are_left_as_they_are(runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    for name in (None, "c", "a/2", "sweep/1", "b", "new/of/it"):  # b has a configuration, but no steps
        assert unusable_run(runs, name) is None
    assert unusable_run(runs.parent / "not" / "there", "x") is None
    assert sorted(runs.rglob("*")) == before


def test_each_place_that_cannot_be_used_has_its_line(runs: Path) -> None:
    used = "already holds a run; continue with it by resume=a/1, or choose another name=…"
    assert str(unusable_run(runs, "a/1")) == f"name: {runs}/a/1 {used}"
    assert str(unusable_run(runs, "b/x/y")) == f"name: {runs}/b is a run, and holds no others; choose another name=…"
    assert str(unusable_run(runs, "file")) == f"name: {runs}/file is not a folder; choose another name=…"
    assert str(unusable_run(runs, "file/x")) == f"name: {runs}/file is not a folder; choose another name=…"
    assert str(unusable_run(runs / "file", None)) == f"paths.runs: {runs}/file is not a folder; set paths.runs=…"
    assert str(unusable_run(runs / "file" / "x", "y")) == f"paths.runs: {runs}/file is not a folder; set paths.runs=…"
    long = f"name: {'é' * 20}… is 256 bytes long; a folder's name has at most 255"
    assert str(unusable_run(runs, "é" * 128)) == long
    assert str(unusable_run(runs / ("r" * 256), None)) == (
        f"paths.runs: {'r' * 20}… is 256 bytes long; a folder's name has at most 255"
    )
    (runs / "link").symlink_to("nowhere")
    assert str(unusable_run(runs, "link/x")) == f"name: {runs}/link is not a folder; choose another name=…"


def test_a_folder_that_cannot_be_written(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != runs)
    assert str(unusable_run(runs, "c")) == f"paths.runs: {runs} cannot be written; set paths.runs=…"
    assert str(unusable_run(runs, None)) == f"paths.runs: {runs} cannot be written; set paths.runs=…"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != runs / "a")
    assert unwritable(runs / "a" / "1", runs) is None
    assert str(unusable_run(runs, "a/2")) == f"name: {runs}/a cannot be written; choose another name=…"
