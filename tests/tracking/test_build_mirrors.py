# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.config import Config, TrackerConfig
from clip_align.config_plain import to_plain
from clip_align.record.record import read
from clip_align.runs.folder import RunFolder
from clip_align.tracking.build_mirrors import mirrors
from clip_align.tracking.console import ConsoleMirror


def names(tracker: TrackerConfig, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    chosen = mirrors(RunFolder(folder), tracker, to_plain(Config()), read(folder), interactive=False)
    assert isinstance(chosen[-1], ConsoleMirror)
    for mirror in chosen:
        mirror.close("done")
    return [type(m).__name__ for m in chosen]


def test_console_and_live_report_are_always_there(tmp_path: Path) -> None:
    assert names(TrackerConfig(kinds={}), tmp_path) == ["LiveReport", "ConsoleMirror"]


def test_trackers_by_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = names(TrackerConfig({"wandb": {}, "tensorboard": {}, "csv": {}}, mode="disabled"), tmp_path)
    assert chosen == ["LiveReport", "TensorBoardMirror", "CsvMirror", "ConsoleMirror"]
    assert "wandb: disabled" in capsys.readouterr().out


def test_a_tracker_that_cannot_start_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sideways")
    (tmp_path / "tensorboard").write_text("in the way")
    assert names(TrackerConfig({"wandb": {}, "tensorboard": {}}), tmp_path) == ["LiveReport", "ConsoleMirror"]
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning")]
    assert len(lines) == 2
    assert lines[0].startswith("warning: tracker wandb is off (WANDB_MODE: 'sideways'")
    assert lines[1].startswith("warning: tracker tensorboard is off (")
