# SPDX-License-Identifier: Apache-2.0
"""Steps that a gradient scaler skips, with torch's scaler on the CPU. On a GPU it has not been seen here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_synthetic import CONFIG, lines, overflowing, stop_at, take_scaler, train, train_losses

from clip_align.config import CheckpointConfig, OptimizerConfig, TrainerConfig
from clip_align.errors import RunError
from clip_align.training.checkpoint_files import load
from clip_align.training.optimizer import schedule
from clip_align.training.train_log import MOST_SKIPPED

HALF = replace(
    CONFIG,
    trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, precision="16-mixed"),
    optimizer=OptimizerConfig(lr=1e-2, warmup_steps=6),
    checkpoint=CheckpointConfig(every_n_steps=5, keep_last=99, best=None),
)


@pytest.fixture(autouse=True)
def scale(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins at a scale that nothing here overflows at by itself, unless a test gives another one."""
    take_scaler(monkeypatch, float(getattr(request, "param", 2.0**6)))


def test_no_step_is_skipped_without_a_word(tmp_path: Path) -> None:
    loop = train(tmp_path, 12, HALF, change=overflowing(2, 3, 9))
    assert loop.module.skipped == 3
    counts = [line.get("train/skipped_steps") for line in lines(tmp_path, "train")]
    assert counts == [None, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3]
    reported = [line for line in lines(tmp_path, "event") if line["event"] == "skipped_steps"]
    assert [(line["global_step"], line["skipped_steps"]) for line in reported] == [(2, 1), (3, 2)]  # when they double
    assert reported[1]["message"] == (
        "16-mixed: 2 optimizer steps of 3 skipped so far (a gradient overflowed float16): weights and learning rate "
        "stay as they were"
    )


def test_the_learning_rate_follows_the_steps_that_were_taken(tmp_path: Path) -> None:
    train(tmp_path, 12, HALF, change=overflowing(2, 3, 9))
    factor = schedule(HALF.optimizer, 12)
    taken = [0, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 8]  # before each step
    assert [line["train/lr"] for line in lines(tmp_path, "train")] == [1e-2 * factor(done) for done in taken]


def test_a_skipped_step_changes_no_weight(tmp_path: Path) -> None:
    train(tmp_path, 5, HALF, change=overflowing(3, 4, 5))
    after = load(tmp_path / "checkpoints" / "step-000000005.ckpt")["state_dict"]
    train(tmp_path / "two", 2, replace(HALF, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=6)))
    before = load(tmp_path / "two" / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_resumed_run_has_them_still(tmp_path: Path) -> None:
    steps = (2, 3, 9, 13)
    train(tmp_path / "whole", 16, HALF, change=overflowing(*steps))
    (tmp_path / "parts").mkdir()
    constant = overflowing(*steps)
    train(tmp_path / "parts", 16, HALF, change=lambda loop: (constant(loop), stop_at(10)(loop)))
    loop = train(tmp_path / "parts", 16, HALF, change=constant)
    assert loop.module.skipped == 4
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")
    rates = [[line["train/lr"] for line in lines(tmp_path / name, "train")] for name in ("whole", "parts")]
    assert rates[0] == rates[1]


def test_too_many_running_end_the_run_with_one_line(tmp_path: Path) -> None:
    last = 4 + MOST_SKIPPED - 1
    with pytest.raises(RunError) as caught:
        train(tmp_path, 99, HALF, change=overflowing(*range(4, 99)))
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"trainer.precision: the gradient scaler has skipped {MOST_SKIPPED} optimizer steps running (steps 4 to "
        f"{last}): "
        "gradients overflow float16 at every scale; take trainer.precision=bf16-mixed, or a lower optimizer.lr"
    )


@pytest.mark.parametrize("scale", [2.0**30], indirect=True)
def test_gradients_that_overflow_by_themselves_are_skipped_until_the_scale_fits(tmp_path: Path, scale: None) -> None:
    loop = train(tmp_path, 40, HALF)
    assert 5 < loop.module.skipped < MOST_SKIPPED
    assert loop.module.skipped_running == 0
    losses = train_losses(tmp_path)
    assert losses[40] < losses[1]


def test_without_a_scaler_nothing_counts_as_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    loop = train(tmp_path, 5, replace(HALF, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1)))
    assert loop.module.skipped == 0
    assert not any("train/skipped_steps" in line for line in lines(tmp_path, "train"))
