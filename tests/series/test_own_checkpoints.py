# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from clip_align.errors import UserError
from clip_align.series.own_checkpoints import OwnCheckpoints, kept
from clip_align.series.prepare import Request, as_trained
from clip_align.settings.load_config import load


def test_a_best_checkpoint_that_its_run_replaces_is_never_taken_for_the_earlier_step(
    trained: Path, tmp_path: Path
) -> None:
    best, new = tmp_path / "best-x.ckpt", tmp_path / "new"
    shutil.copy(trained / "checkpoints" / "step-000000004.ckpt", best)
    series = OwnCheckpoints("mine", str(tmp_path), lambda: kept(tmp_path), ["raw"], torch.device("cpu"))
    [before], _ = series.members()
    assert before.place.step == 4
    shutil.copy(trained / "checkpoints" / "step-000000008.ckpt", new)
    os.replace(new, best)
    with pytest.raises(UserError) as raised:
        series.load(before)
    assert raised.value.lines == (f"{best}: holds step 8 by now, not 4; evaluate once more",)
    [after], bad = series.members()
    assert (after.place.step, bad) == (8, [])
    series.load(after)


def test_a_file_that_holds_something_else_is_left_out_with_its_reason(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "checkpoints" / "step-000000004.ckpt", tmp_path)
    torch.save(3, tmp_path / "step-000000005.ckpt")
    (tmp_path / "step-000000006.ckpt").write_bytes(b"not a checkpoint")
    series = OwnCheckpoints("mine", str(tmp_path), lambda: kept(tmp_path), ["raw"], torch.device("cpu"))
    found, bad = series.members()
    assert [member.place.step for member in found] == [4]
    assert bad[0].reason == "not a checkpoint of clip-align"
    assert bad[1].reason.startswith("cannot be read (")


def test_what_is_typed_about_data_wins_over_the_run(trained: Path) -> None:
    folder = trained / "checkpoints"
    series = OwnCheckpoints("mine", str(trained), lambda: kept(folder), None, torch.device("cpu"))
    config = load(["data=folder", "data.csv=moved.csv", "callbacks=[world]", "tracker=none", "name=x"])
    typed = as_trained(Request(("mine",), config, frozenset({"data", "data.csv"})), series)
    assert typed.data.csv == "moved.csv"
    untouched = as_trained(Request(("mine",), config, frozenset()), series)
    assert untouched.data == series.config.data
