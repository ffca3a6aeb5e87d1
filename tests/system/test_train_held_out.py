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
@pytest.mark.timeout(1200)
def test_what_is_held_out_by_default_is_recorded_and_kept(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", samples(range(80)))
    tar(tmp_path / "1.tar", samples(range(80, 120)))
    lines = train(tmp_path, "trainer.max_steps=2")
    assert "data: 12 samples are held out (data.held_out=12, by default), 108 are trained on" in lines
    run = tmp_path / "runs" / "a"
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["held_out"] == 12
    lines = train(tmp_path, "resume=auto", "trainer.max_steps=4")
    assert "(data.held_out=12)" in lines
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["held_out"] == 12
    history = read(run)
    values = [line["zero_shot/held_out/accuracy"] for line in history.evaluations]
    assert [line["global_step"] for line in history.evaluations] == [0, 1, 2, 3, 4]
    assert None not in values  # the same images throughout: others would be refused
    assert len((run / "items" / "zero_shot" / "held_out" / "items.csv").read_text().splitlines()) == 1 + 12
