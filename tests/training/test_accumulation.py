# SPDX-License-Identifier: Apache-2.0
"""Training with micro-batches is training with the larger batch, in Lightning's loop: losses, gradients, weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accumulating_rank import STEPS, config, joined
from rank_processes import run_ranks
from synthetic import NormedPair
from train_synthetic import lines, stop_at, take_scaler, train, train_losses, weights

from clip_align.losses.siglip import SigLIP


def norms(folder: Path) -> list[float]:
    return [line["train/grad_norm"] for line in lines(folder, "train")]


@pytest.mark.parametrize("grad_batches", [1, 2])
def test_it_is_as_if_the_batch_were_larger(tmp_path: Path, grad_batches: int) -> None:
    train(tmp_path / "parts", 8, config(accumulate=3, accumulate_grad_batches=grad_batches))
    train(tmp_path / "whole", 8, config(accumulate_grad_batches=grad_batches), change=joined(3))
    assert train_losses(tmp_path / "parts") == pytest.approx(train_losses(tmp_path / "whole"), rel=1e-5)
    assert norms(tmp_path / "parts") == pytest.approx(norms(tmp_path / "whole"), rel=1e-4)
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "parts")[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_on_two_ranks_too(tmp_path: Path) -> None:
    assert [code for code, _ in run_ranks("accumulating_rank.py", 2, tmp_path, 2)] == [0, 0]
    for loss in ("infonce", "siglip"):
        parts, whole = tmp_path / f"{loss}-parts", tmp_path / f"{loss}-whole"
        assert len(train_losses(parts)) == STEPS
        assert train_losses(parts) == pytest.approx(train_losses(whole), rel=1e-5)
        assert norms(parts) == pytest.approx(norms(whole), rel=1e-4)
        for name, value in weights(whole).items():
            torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=1e-6)


def test_plain_accumulation_is_something_else(tmp_path: Path) -> None:
    """Each batch is contrasted within itself: 8 candidates instead of 24, and so a lower loss."""
    train(tmp_path / "cached", 1, config(accumulate=3))
    train(tmp_path / "plain", 1, config(accumulate_grad_batches=3))
    assert train_losses(tmp_path / "cached")[1] > train_losses(tmp_path / "plain")[1] + 0.5


def test_a_gradient_scaler_scales_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_scaler(monkeypatch, 2.0**8)
    settings = {"precision": "16-mixed", "accumulate_grad_batches": 2}
    train(tmp_path / "parts", 4, config(accumulate=3, **settings))
    train(tmp_path / "whole", 4, config(**settings), change=joined(3))
    assert norms(tmp_path / "parts") == pytest.approx(norms(tmp_path / "whole"), rel=0.02)  # float16 has 11 bits
    assert train_losses(tmp_path / "parts") == pytest.approx(train_losses(tmp_path / "whole"), rel=0.01)


def test_in_bfloat16_too(tmp_path: Path) -> None:
    train(tmp_path / "parts", 4, config(accumulate=3, precision="bf16-mixed"))
    train(tmp_path / "whole", 4, config(precision="bf16-mixed"), change=joined(3))
    assert norms(tmp_path / "parts") == pytest.approx(norms(tmp_path / "whole"), rel=0.05)
    assert train_losses(tmp_path / "parts") == pytest.approx(train_losses(tmp_path / "whole"), rel=0.02)


def test_steps_are_whole_where_a_run_stops(tmp_path: Path) -> None:
    """The cursor is that of the step's last micro-batch, and running statistics resume too."""
    settings = config(accumulate=3)
    train(tmp_path / "whole", 9, settings, model=NormedPair)
    (tmp_path / "parts").mkdir()
    train(tmp_path / "parts", 9, settings, model=NormedPair, change=stop_at(5))
    assert len(train_losses(tmp_path / "parts")) == 5
    train(tmp_path / "parts", 9, settings, model=NormedPair)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "parts")[name], value), name


def test_parameters_of_the_loss_are_trained_and_resumed(tmp_path: Path) -> None:
    for folder, lengths in (("whole", (8,)), ("parts", (4, 8))):
        for steps in lengths:
            train(tmp_path / folder, steps, config(accumulate=2), loss=SigLIP())
    bias = weights(tmp_path / "parts")["loss.logit_bias"]
    assert bias != -10
    assert torch.equal(bias, weights(tmp_path / "whole")["loss.logit_bias"])
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")
    first, *_, last = lines(tmp_path / "whole", "train")
    assert first["train/logit_scale"] == pytest.approx(10, rel=0.1)
    assert first["train/logit_bias"] == pytest.approx(-10, rel=0.01)
    assert last["train/logit_bias"] == float(bias)
