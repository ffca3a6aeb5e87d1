# SPDX-License-Identifier: Apache-2.0
"""``bench evaluation`` and ``bench scaling`` in a miniature setting: they start runs of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_align.__main__ import main
from clip_align.bench.runs import trained
from clip_align.errors import RunError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_evaluation_counts_the_images_of_all_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "train=data.images=256,data.batch_size=16,evaluation.every_n_steps=2,evaluation.per_octave=0"
    words = ["bench", "evaluation", "callbacks=world", "steps=4", "threads=1", "require=1000", more]
    assert main([*words, f"output={tmp_path}/r.json"]) == 0
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert (case["events"], case["steps"]) == (3, 4)
    assert case["images"] % 3 == 0
    assert case["images"] > 0
    assert 0 < case["fraction"] < 1
    assert case["factor"] == pytest.approx(case["seconds"] / case["bare_seconds"])
    assert "tiny: 3 events of 4 steps take " in capsys.readouterr().out


@pytest.mark.slow
def test_every_kind_of_scaling_has_a_row_for_each_point(tmp_path: Path) -> None:
    words = ["bench", "scaling", "batch=4,8", "ranks=1", "shards=1,2", "images=4", "steps=2", "threads=1"]
    assert main([*words, f"output={tmp_path}/r.json"]) == 0
    batch, ranks, shards, images = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert batch["batch"] == [4, 8]
    assert len(batch["samples_per_second"]) == len(batch["step_seconds"]) == 2
    assert (ranks["ranks"], len(ranks["samples_per_second"])) == ([1], 1)
    assert len(shards["first_start_seconds"]) == len(shards["later_start_seconds"]) == len(shards["peak_mib"]) == 2
    assert images["images_per_second"][0] > 0


def test_scaling_against_the_batch(tmp_path: Path) -> None:
    words = ["bench", "scaling", "of=batch", "batch=4", "steps=1", "threads=1", f"output={tmp_path}/r.json"]
    assert main(words) == 0
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert case["samples_per_second"][0] == pytest.approx(4 / case["step_seconds"][0])


def test_a_run_that_is_refused_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^train trainer.max_steps=x: ended with 2: trainer.max_steps: 'x' is not "):
        trained(["trainer.max_steps=x"], tmp_path, tmp_path)
