# SPDX-License-Identifier: Apache-2.0
"""What a dry run counts beside the steps: waiting for data, and saving."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from clip_align.commands import overheads
from clip_align.commands.dry_run import dry_run
from clip_align.commands.overheads import WRITTEN, sample_seconds, saving_seconds, waiting_seconds
from clip_align.data.world.shards import ensure_world
from clip_align.models.build import build_model
from clip_align.settings.load_config import load
from clip_align.training.checkpoint_writer import AT_ONCE


@pytest.mark.parametrize(
    ("processes", "seconds"),
    [(0, 0.8), (1, 0.3), (2, 0.0), (9, 0.0)],  # 64 samples of 12.5 ms and a step of 0.5 s
)
def test_a_step_waits_for_what_is_not_read_meanwhile(processes: int, seconds: float) -> None:
    assert waiting_seconds(0.5, 64, 0.0125, processes) == pytest.approx(seconds)


@pytest.fixture
def _a_second_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a second passes between any two looks at it."""
    seconds = count(1.0, 1.0)
    monkeypatch.setattr(overheads, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))


@pytest.mark.usefixtures("_a_second_each")
def test_data_are_read_to_see_what_a_sample_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 16, until the time is over."""
    monkeypatch.setattr(overheads, "READ_S", 5.5)
    config = load(["data.images=256", "data.batch_size=32", "callbacks=[]", f"paths.cache={tmp_path}"])
    clip = build_model(config.model, ["word"], device="meta")
    assert sample_seconds(config.data, clip, 0, tmp_path) is None  # nothing is rendered for it
    assert not list(tmp_path.iterdir())
    ensure_world(config.data, tmp_path, lambda line: None)
    assert sample_seconds(config.data, clip, 0, tmp_path) == pytest.approx(7 / (5 * 16))  # seconds of 5 batches


@pytest.mark.usefixtures("_a_second_each")
def test_a_checkpoint_is_written_to_see_what_saving_takes(tmp_path: Path) -> None:
    assert saving_seconds(2**20, tmp_path / "not" / "there", background=True) == 1.0
    copied = saving_seconds(100 * AT_ONCE, Path("/proc"), background=True)  # in memory: the disk does not matter
    assert copied == 100 * AT_ONCE / WRITTEN  # so many times what was tried
    assert saving_seconds(100 * AT_ONCE, Path("/proc"), background=False) is None
    assert not list(tmp_path.iterdir())


def test_the_time_of_a_run_counts_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["trainer=cpu", "callbacks=[]", "data.images=512", "trainer.max_steps=520", f"paths.cache={tmp_path}"]
    config = load([*keys, f"paths.runs={tmp_path}/runs", "checkpoint.best=null", "checkpoint.every_n_steps=100"])
    assert dry_run(config) == 0
    assert "waiting for data not counted (none can be read yet)" in capsys.readouterr().out
    ensure_world(config.data, tmp_path, lambda line: None)
    monkeypatch.setattr("clip_align.commands.overheads.sample_seconds", lambda *_: 0.01)
    monkeypatch.setattr("clip_align.commands.overheads.saving_seconds", lambda *_: 2.0)
    assert dry_run(config) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cost     time"))
    assert "11 min waiting for data (10 ms a sample, no workers), 12 s saving 6 checkpoints;" in line  # 665.6 s
    total = re.search(r"time: (\d+) min \(estimated", line)
    assert total is not None
    assert int(total[1]) >= 11


def test_checkpoints_for_later_study_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["trainer=cpu", "callbacks=[]", "data.images=512", "trainer.max_steps=520", f"paths.cache={tmp_path}"]
    keys += [f"paths.runs={tmp_path}/runs", "checkpoint.best=null", "checkpoint.every_n_steps=100"]
    monkeypatch.setattr("clip_align.commands.overheads.saving_seconds", lambda *_: 2.0)
    assert dry_run(load([*keys, "checkpoint.keep_per_octave=1"])) == 0
    out = capsys.readouterr().out
    assert "32 s saving 16 checkpoints;" in out  # steps 1, 2, 4, … 512, 100, 200, … 500, and 520
    assert " for 13 checkpoints, 10 of them kept for study (estimated)" in out
