# SPDX-License-Identifier: Apache-2.0
"""Patch dropout and activation checkpointing with what else a run may have: resume, ranks, accumulation, compile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gradient_cache_rank import around, batch, micro_batches
from rank_processes import run_ranks
from small_clip import config, small_clip
from test_gradient_cache import same_as_in_one_graph
from tower_options_rank import STEPS
from train_synthetic import stop_at, train, train_losses, weights

from clip_align.config import Config
from clip_align.training.clip_module import CLIPModule


def assert_resumed(folder: Path, settings: Config, model: Callable[[], Any]) -> dict[int, float]:
    """A run that is stopped and resumed has the losses and weights of one that is not."""
    train(folder / "whole", STEPS, settings, model=model)
    train(folder / "parts", STEPS, settings, model=model, change=stop_at(3))
    assert max(train_losses(folder / "parts")) == 3
    train(folder / "parts", STEPS, settings, model=model)
    losses = train_losses(folder / "whole")
    assert len(losses) == STEPS
    assert train_losses(folder / "parts") == losses
    for name, value in weights(folder / "whole").items():
        assert torch.equal(weights(folder / "parts")[name], value), name
    return losses


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *(
            pytest.param(more, marks=pytest.mark.exhaustive)
            for more in ({"accumulate": 2}, {"precision": "bf16-mixed"})
        ),
    ],
    ids=str,
)
def test_a_resumed_run_drops_the_same_patches_and_checkpointing_changes_no_loss(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    losses = assert_resumed(tmp_path, config(**settings), small_clip(0.5, checkpointing=True))
    train(tmp_path / "plain", STEPS, config(**settings), model=small_clip(0.5))
    assert train_losses(tmp_path / "plain") == losses
    assert all(torch.equal(weights(tmp_path / "plain")[n], v) for n, v in weights(tmp_path / "whole").items())


def test_a_run_without_patch_dropout_is_another_one(tmp_path: Path) -> None:
    for name, fraction in (("all", 0.0), ("half", 0.5)):
        train(tmp_path / name, 1, config(), model=small_clip(fraction))
    assert train_losses(tmp_path / "all") != train_losses(tmp_path / "half")


def double(checkpointing: bool) -> CLIPModule:
    torch.manual_seed(0)
    return around(small_clip(0.5, checkpointing)(), "infonce")


def small(whole: dict[str, Any]) -> dict[str, Any]:
    """The batch at the size and the number of words of the small model."""
    return {**whole, "image": whole["image"][:, :, :4, :4], "text": whole["text"][:, :3] % 20}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_micro_batches_have_the_gradient_of_the_batch_with_the_same_patches(checkpointing: bool) -> None:
    one_graph, cached = double(False), double(checkpointing)
    parts = micro_batches(small(batch()), 3)
    same_as_in_one_graph(one_graph, cached, parts)


@pytest.mark.slow
def test_on_two_ranks(tmp_path: Path) -> None:
    assert [code for code, _ in run_ranks("tower_options_rank.py", 2, tmp_path)] == [0, 0]
    for name in ("plain", "accumulated"):
        whole = train_losses(tmp_path / f"{name}-whole")
        assert len(whole) == STEPS
        assert train_losses(tmp_path / f"{name}-parts") == whole
        assert train_losses(tmp_path / f"{name}-again") == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled(tmp_path: Path) -> None:
    """Compiled code draws numbers of its own: a resumed run and both passes of micro-batches draw the same ones."""
    assert_resumed(tmp_path, config(accumulate=2), small_clip(0.5, checkpointing=True, compiled=True, layers=1))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_on_two_ranks(tmp_path: Path) -> None:
    """Whole towers with DDP, blocks that are gathered one by one with FSDP; each in one graph."""
    assert [code for code, _ in run_ranks("compiled_rank.py", 2, tmp_path)] == [0, 0]
    for kind in ("ddp", "fsdp"):
        whole = train_losses(tmp_path / f"{kind}-whole")
        assert len(whole) == STEPS
        assert train_losses(tmp_path / f"{kind}-parts") == whole
        # AdamW divides by the size of gradients: rounding grows from step to step
        assert train_losses(tmp_path / f"{kind}-plain") == pytest.approx(whole, rel=1e-4)
