# SPDX-License-Identifier: Apache-2.0
"""``train`` with averaged weights: what is recorded of them, and that training and resuming are the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import code_of, forked, lines, losses, text

from clip_align.training.checkpoint_files import AVERAGE, load, weights_of

KEY = "zero_shot/world/accuracy"
BEST = [f"checkpoint.best={KEY}", "trainer.log_every_n_steps=1", "evaluation.horizon=0.5"]


def tensors_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def scores(run: Path, key: str) -> dict[int, float]:
    return {line["global_step"]: line[key] for line in lines(run, "evaluation")}


def test_training_is_the_same_whichever_weights_are_evaluated(tmp_path, small):
    for name, weights in (("raw", "raw"), ("ema", "ema"), ("both", "[ema,raw]")):
        arguments = [*small, *BEST, f"name={name}", f"evaluation.weights={weights}"]
        assert code_of(forked(arguments, tmp_path / "out")) == 0, text(tmp_path)
    runs = {name: tmp_path / name for name in ("raw", "ema", "both")}
    files = {name: load(run / "checkpoints" / "last.ckpt") for name, run in runs.items()}
    for name in ("ema", "both"):
        assert losses(runs[name]) == losses(runs["raw"])
        assert tensors_equal(files[name]["state_dict"], files["raw"]["state_dict"])
        assert lines(runs[name], "benchmark")[0]["weights"] == "ema"
    assert scores(runs["both"], f"{KEY}@raw") == scores(runs["raw"], KEY)
    assert scores(runs["both"], KEY) == scores(runs["ema"], KEY)
    assert scores(runs["ema"], KEY)[0] == scores(runs["raw"], KEY)[0]
    assert lines(runs["raw"], "benchmark")[0]["weights"] == "raw"
    assert AVERAGE not in files["raw"]
    assert scores(runs["ema"], "weights/ema/span_steps") == pytest.approx({0: 1.0, 2: 1.0, 10: 5.0, 20: 10.0})
    carried = scores(runs["ema"], "weights/ema/carried_fraction")
    assert carried[2] == 0.0
    assert 0 < carried[10] < carried[20] < 0.2
    assert not any(key.startswith("weights/") for line in lines(runs["raw"], "evaluation") for key in line)
    best = load(runs["ema"] / "checkpoints" / "best-zero_shot-world-accuracy.ckpt")
    assert tensors_equal(weights_of(best), weights_of(best, "ema"))
    assert not tensors_equal(weights_of(best, "ema"), weights_of(best, "raw")) or best["global_step"] < 3
    assert "averaged weights (EMA)" in (runs["ema"] / "report.html").read_text()


@pytest.mark.slow
def test_a_killed_run_has_the_same_average_to_the_bit(tmp_path, small):
    common = [*small, *BEST, "evaluation.weights=[ema,raw]", "checkpoint.every_n_steps=6"]
    assert code_of(forked([*common, "name=whole"], tmp_path / "out")) == 0, text(tmp_path)
    assert code_of(forked([*common, "name=parts", "resume=auto"], tmp_path / "out", "killed")) == -9
    assert code_of(forked([*common, "name=parts", "resume=auto"], tmp_path / "out")) == 0, text(tmp_path)
    whole, parts = (load(tmp_path / name / "checkpoints" / "last.ckpt")[AVERAGE] for name in ("whole", "parts"))
    assert tensors_equal(whole["tensors"], parts["tensors"])
    assert (whole["noise"], whole["carried"]) == (parts["noise"], parts["carried"])
    for key in (KEY, f"{KEY}@raw", "weights/ema/span_steps", "weights/ema/carried_fraction"):
        assert scores(tmp_path / "whole", key) == scores(tmp_path / "parts", key)


@pytest.mark.slow
def test_two_ranks_score_the_same_average_as_one(tmp_path, small):
    common = [*small, "evaluation.weights=[ema,raw]"]
    ranks = ["trainer=ddp", "trainer.devices=2", "data.batch_size=16"]
    for name, more in (("one", []), ("two", ranks)):
        assert code_of(forked([*common, *more, f"name={name}"], tmp_path / "out")) == 0, text(tmp_path)
    one, two = (load(tmp_path / name / "checkpoints" / "last.ckpt")[AVERAGE] for name in ("one", "two"))
    assert (one["noise"], one["carried"]) == (two["noise"], two["carried"])
    raw = weights_of(load(tmp_path / "one" / "checkpoints" / "last.ckpt"), "raw")
    a, b, c = (
        torch.cat([tensors[name].flatten() for name in raw if name in one["tensors"]])
        for tensors in (one["tensors"], two["tensors"], raw)
    )
    assert (a - b).norm() < 0.25 * (a - c).norm()  # the rounding of 20 steps is a tenth of it
