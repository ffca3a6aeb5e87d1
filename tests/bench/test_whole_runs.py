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
def test_evaluation_has_the_fraction_of_a_run_and_the_cost_of_its_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # intervals follow the length of the run, as in a default one: step 0 and the last
    more = "train=data.images=256,data.batch_size=16,evaluation.per_octave=0"
    words = ["bench", "evaluation", "callbacks=world", "steps=2", "threads=1", "pairs=2", more]
    assert main([*words, "require=0.01", f"output={tmp_path}/r.json"]) == 1
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert (case["events"], case["steps"]) == (2, 2)
    assert case["images"] > 0
    assert case["texts"] > 0  # the run's own words: with others the benchmark encodes nothing
    assert 0 < case["fraction"] < 1
    pairs = zip(case["event_seconds"], case["forward_seconds"], strict=True)
    assert case["ratios"] == pytest.approx(sorted(event / forward for event, forward in pairs))
    assert len(case["ratios"]) == 2
    assert case["ratio"] == pytest.approx(sum(case["ratios"]) / 2)
    printed = capsys.readouterr()
    assert "tiny: 2 events in 2 steps take " in printed.out
    assert printed.err.splitlines()[-1].endswith(" x bare forward passes is more than require=0.01")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (["of=ranks", "ranks=1"], {"samples_per_second"}),
        (["of=shards", "shards=1,2"], {"first_start_seconds", "later_start_seconds", "peak_mib"}),
        (["of=images", "images=4"], {"evaluation_seconds", "images_per_second"}),
    ],
)
def test_scaling_has_a_row_for_each_point(words: list[str], columns: set[str], tmp_path: Path) -> None:
    assert main(["bench", "scaling", *words, "steps=2", "threads=1", f"output={tmp_path}/r.json"]) == 0
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert set(case) == {"name", case["name"], *columns}
    points = case[case["name"]]
    assert all(len(case[column]) == len(points) and min(case[column]) > 0 for column in columns)


def test_scaling_against_the_batch(tmp_path: Path) -> None:
    words = ["bench", "scaling", "of=batch", "batch=4", "steps=1", "threads=1", f"output={tmp_path}/r.json"]
    assert main(words) == 0
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert case["samples_per_second"][0] == pytest.approx(4 / case["step_seconds"][0])


def test_a_run_that_is_refused_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^train trainer.max_steps=x: ended with 2: trainer.max_steps: 'x' is not "):
        trained(["trainer.max_steps=x"], tmp_path, tmp_path)
