# SPDX-License-Identifier: Apache-2.0
"""A dry run: what is found, what is missing, what it will cost, every estimate marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.commands.cost import BYTES_A_PARAMETER, Cost, cost
from clip_align.commands.dry_run import dry_run
from clip_align.errors import UserError
from clip_align.load_config import load
from clip_align.training.launch import Place

ONE = Place(0, 0, 1, 1, gpu=False)


def test_a_run_that_can_start_is_listed_with_its_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["trainer=cpu", "callbacks=[tid2013_remade,world]", f"paths.cache={tmp_path}/cache"]
    assert dry_run(load([*overrides, f"paths.runs={tmp_path}/runs"])) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "dry run: nothing is trained"
    assert "found    data: the embedded world, 20,000 images of 32 px, to be rendered once into the cache" in lines
    assert any(
        line.startswith("found    callbacks.tid2013_remade: human/tid2013_remade, 7,776 images") for line in lines
    )
    assert "cost     steps: 1,300 of 128 samples, 166,400 samples in all, 8.32 epochs" in lines
    assert any(line.startswith("cost     evaluations: 26, the largest of 8,") for line in lines)
    for what in ("time", "memory", "disk"):
        assert any(line.startswith(f"cost     {what}: ") and "estimated" in line for line in lines), out
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache" / "world").exists()


def test_everything_missing_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "cache").write_text("")
    config = load(
        ["trainer=cpu", "data=webdataset", f"data.shards={tmp_path}/x-{{0..3}}.tar", "callbacks=pairs_csv", "name=a",
         f"callbacks.pairs_csv.csv={tmp_path}/no.csv", f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache"]
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        dry_run(config)
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        "name", "paths.cache", "data.shards", "human/pairs_csv",
    ]  # fmt: skip
    assert "cost     memory" in capsys.readouterr().out  # what can be told is told


def test_a_best_score_that_nobody_writes_is_missing(tmp_path: Path) -> None:
    folders = [f"paths.cache={tmp_path}", f"paths.runs={tmp_path}/runs"]
    config = load(["trainer=cpu", "callbacks=world", "checkpoint.best=zero_shot/world/acuracy", *folders])
    with pytest.raises(UserError) as caught:
        dry_run(config)
    assert list(caught.value.lines) == [
        "checkpoint.best: no callback of this run writes zero_shot/world/acuracy; "
        "valid: zero_shot/world/accuracy, zero_shot/world/accuracy_random_texture"
    ]
    assert dry_run(load(["callbacks=[]", "checkpoint.best=null", *folders])) == 0


def test_a_step_is_tried_and_its_memory_counted() -> None:
    small, large = (cost(load(["callbacks=[]", f"data.batch_size={n}"]), ONE) for n in (8, 16))
    assert small.tried <= 8
    assert small.step_seconds is not None
    assert small.step_seconds > 0
    assert small.image_seconds is not None
    activations = [c.memory - c.parameters * BYTES_A_PARAMETER for c in (small, large)]
    assert activations[1] == pytest.approx(2 * activations[0], rel=0.2)
    assert 400_000 < small.parameters < 2_000_000


def test_a_model_that_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_align.commands.cost.free_bytes", lambda device: 1e6)
    found = cost(load(["callbacks=[]", "model.name=ViT-B-32"]), ONE)
    assert found == Cost(found.parameters, found.parameters * 16, None, None, 0, 224)
    assert found.parameters == 151_277_313  # as open_clip counts them
