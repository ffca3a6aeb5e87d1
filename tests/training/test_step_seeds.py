# SPDX-License-Identifier: Apache-2.0
"""What training draws belongs to seed, rank and step: a resumed run draws what it would have drawn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from failing_rank import noisy
from train_synthetic import EACH, stop_at, train, train_losses

from clip_align.config import TrainerConfig
from clip_align.training.step_seeds import StepSeeds, seed_everything, seed_of_step
from clip_align.training.training_loop import TrainingLoop


def draws(seeds: StepSeeds, step: int) -> tuple[float, float, float]:
    trainer: Any = SimpleNamespace(global_step=step)
    seeds.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_draws_are_a_function_of_seed_rank_and_step() -> None:
    first = draws(StepSeeds(0, 0), 5)
    seed_everything(99)
    assert draws(StepSeeds(0, 0), 5) == first
    others = [draws(StepSeeds(0, 0), 6), draws(StepSeeds(0, 1), 5), draws(StepSeeds(1, 0), 5)]
    for other in others:
        assert all(a != b for a, b in zip(first, other, strict=True))


def test_batches_of_one_step_do_not_draw_the_same() -> None:
    seeds = StepSeeds(0, 0)
    assert draws(seeds, 5) != draws(seeds, 5)


def test_seeds_do_not_collide() -> None:
    seeds = {seed_of_step(seed, rank, step) for seed in range(4) for rank in range(8) for step in range(1, 500)}
    assert len(seeds) == 4 * 8 * 499
    assert all(0 <= seed < 2**64 for seed in seeds)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_resumed_run_draws_what_it_would_have_drawn(tmp_path: Path, accumulate: int) -> None:
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate_grad_batches=accumulate))
    train(tmp_path / "whole", 14, config, change=noisy)

    def stopped(loop: TrainingLoop) -> None:
        noisy(loop)
        stop_at(9)(loop)

    train(tmp_path / "parts", 14, config, change=stopped)
    torch.manual_seed(1234)  # another process
    train(tmp_path / "parts", 14, config, change=noisy)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")


def test_a_run_without_draws_does_not_notice(tmp_path: Path) -> None:
    train(tmp_path / "one", 6, EACH)
    train(tmp_path / "other", 6, EACH, change=lambda loop: setattr(loop.step_seeds, "_seed", 99))
    assert train_losses(tmp_path / "one") == train_losses(tmp_path / "other")
