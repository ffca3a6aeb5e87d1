# SPDX-License-Identifier: Apache-2.0
"""Samples that a run holds out by default: said, kept in its folder, and the same number after it was resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from miniature_shards import samples, tar
from training_runs import ROOT

from clip_align.record.record import read


def train(folder: Path, *arguments: str) -> str:
    """The lines of a run; AssertionError with them if it fails."""
    common = [
        "data=webdataset", f"data.shards={folder}/*.tar", "callbacks=[held_out]", "trainer=cpu",
        "data.batch_size=8", "optimizer.warmup_steps=1", "evaluation.every_n_steps=2", "name=a",
        "tracker=none", "data.workers=0", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "train.py", *common, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_is_held_out_by_default_is_recorded_and_kept(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", samples(range(80)))
    tar(tmp_path / "1.tar", samples(range(80, 120)))
    lines = train(tmp_path, "trainer.max_steps=2")
    assert "data: 12 samples are held out (data.held_out=12, by default), 108 are trained on" in lines
    run = tmp_path / "runs" / "a"
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["held_out"] == 12
    tar(tmp_path / "2.tar", samples(range(120, 220)))  # more data, of which a tenth would be more
    lines = train(tmp_path, "resume=auto", "trainer.max_steps=4")
    assert "(data.held_out=12)" in lines
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["held_out"] == 12
    events = [line["zero_shot/held_out/accuracy"] for line in read(run).evaluations]
    assert len(events) == 4
    assert all(event["n"] == 12 for event in events)
