# SPDX-License-Identifier: Apache-2.0
"""``bench loader`` in a miniature setting, and crops that are those of open_clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clip_align.__main__ import main
from clip_align.bench import loader

SETTING = ["bench", "loader", "side=48", "size=32", "batch=4", "pairs=2", "batches=2", "threads=1"]


def test_both_sides_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SETTING, "require=0", f"output={tmp_path}/r.json"]) == 0
    case, crops = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert (case["name"], case["unit"]) == ("48 px JPEG to 32 px, batch 4", "images/s on one core")
    assert [len(case["rates"][side]) for side in ("clip_align", "open_clip_train")] == [2, 2]
    assert crops["mean_difference"] < 1
    assert "48 px JPEG to 32 px, batch 4: clip_align " in capsys.readouterr().out


def test_our_side_with_jpeg_at_reduced_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SETTING, "require=0", "jpeg_draft=true", "size=16", f"output={tmp_path}/r.json"]) == 0
    case = json.loads((tmp_path / "r.json").read_text())["cases"][0]
    assert set(case["ratios"]) == {"open_clip_train", "clip_align with data.jpeg_draft"}
    assert " x clip_align with data.jpeg_draft (" in capsys.readouterr().out


def test_crops_that_differ_are_missed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loader, "resized", lambda image, box, size: torch.full((3, size, size), 128, dtype=torch.uint8))
    assert main([*SETTING, "require=0"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("crops differ by ")
    assert line.endswith(" grey levels on average, more than 1")


@pytest.mark.parametrize("side", [256, 512])
def test_crops_are_those_of_open_clip_within_a_grey_level(side: int) -> None:
    assert loader.crop_difference(side, 224, seed=0) < 1
