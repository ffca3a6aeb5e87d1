# SPDX-License-Identifier: Apache-2.0
"""The loop on made-up batches: what it records, how it continues, and how it stops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from train_synthetic import CONFIG, EACH, STEADY, lines, stop_at, train, train_losses, weights

from clip_align.config import OptimizerConfig, TrainerConfig
from clip_align.errors import RunError
from clip_align.training import timed_loader, train_log
from clip_align.training.checkpoint_files import OWN, load, newest
from clip_align.training.training_loop import TrainingLoop
from tests.fake_clock import Clock


def test_lines_of_the_record(tmp_path):
    train(tmp_path, 12)
    train_lines = lines(tmp_path, "train")
    assert [line["global_step"] for line in train_lines] == [5, 10, 12]
    assert [line["samples_seen"] for line in train_lines] == [40, 80, 96]
    assert [line["epoch"] for line in train_lines] == [0, 1, 1]
    for line in train_lines:
        names = {name for name in line if "/" in name}
        assert names == {
            "train/loss", "train/logit_scale", "train/lr", "train/grad_norm",
            "time/samples_per_second", "time/data_wait_fraction", "time/left_seconds",
        }  # fmt: skip
        assert all(math.isfinite(line[name]) for name in names)
        assert 0 <= line["time/data_wait_fraction"] <= 1
    assert train_lines[-1]["time/left_seconds"] == 0
    assert train_lines[0]["train/logit_scale"] == pytest.approx(1 / 0.07, rel=0.1)


def test_recorded_loss_is_the_mean_since_the_last_line(tmp_path):
    train(tmp_path / "each", 10, EACH)
    train(tmp_path / "fives", 10, STEADY)
    each = train_losses(tmp_path / "each")
    fives = train_losses(tmp_path / "fives")
    assert fives[5] == pytest.approx(np.mean([each[s] for s in range(1, 6)]), rel=1e-6)
    assert fives[10] == pytest.approx(np.mean([each[s] for s in range(6, 11)]), rel=1e-6)


def test_learning_rate_is_that_of_the_step(tmp_path):
    train(tmp_path, 3, EACH)
    assert [line["train/lr"] for line in lines(tmp_path, "train")] == pytest.approx([0.005, 0.01, 0.01])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, workers):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    keys: list[str] = []

    def watch(loop: TrainingLoop) -> None:
        keys.append("start")
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            keys.append(batch["keys"][0])
            return step(batch, batch_idx)

        loop.module.training_step = training_step

    train(whole, 23, EACH)
    train(parts, 14, EACH, workers, change=watch)
    train(parts, 23, EACH, workers, change=watch)
    assert [k for k in keys if k != "start"] == [f"s{n}-0" for n in range(23)]
    assert train_losses(parts) == train_losses(whole)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name
    assert lines(parts, "train")[-1]["wall_seconds"] > lines(parts, "train")[13]["wall_seconds"]


def test_another_length_takes_the_schedule_of_that_length(tmp_path):
    cosine = replace(EACH, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2))
    train(tmp_path, 10, cosine)
    train(tmp_path, 20, cosine)
    rates = [line["train/lr"] for line in lines(tmp_path, "train")]
    assert rates[9] < 1e-3
    assert rates[10] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 8 / 18)))


KINDS = [{"accumulate": 3}, {"accumulate_grad_batches": 3}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_accumulated_batches_are_one_step(tmp_path, kind):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, **kind))
    loop = train(tmp_path, 10, config)
    own = load(tmp_path / "checkpoints" / "last.ckpt")[OWN]
    assert own["cursor"] == [3, 0]  # 30 batches of 10 per epoch
    assert own["samples_seen"] == 240
    assert [line["global_step"] for line in lines(tmp_path, "train")] == list(range(1, 11))
    assert loop.run_position.step == 10


@pytest.mark.parametrize("kind", [*KINDS, {"accumulate": 2, "accumulate_grad_batches": 2}], ids=str)
def test_accumulation_resumes(tmp_path, kind):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, **kind))
    train(tmp_path / "whole", 10, config)
    train(tmp_path / "parts", 4, config)
    train(tmp_path / "parts", 10, config)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")


def measured_by(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which training is measured."""
    clock = Clock(1000.0)
    for module in (train_log, timed_loader):
        monkeypatch.setattr(module, "time", clock)
    return clock


class Steps(pl.Callback):
    """Each takes so many seconds by the clock, and so many pass before the first one."""

    def __init__(self, clock: Clock, seconds: float, before: float = 0.0) -> None:
        self.clock, self.seconds, self.before = clock, seconds, before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.now += self.before

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.clock.now += self.seconds


def test_the_first_evaluation_is_no_training_time(tmp_path, monkeypatch):
    train(tmp_path, 1, EACH, evaluations=[Steps(measured_by(monkeypatch), 0.5, before=100.0)])
    (line,) = lines(tmp_path, "train")
    assert line["time/samples_per_second"] == pytest.approx(8 / 0.5)


@pytest.mark.parametrize(("wait", "reported"), [(0.5, 1), (0.1, 0)])
def test_waiting_for_data_is_reported_once_with_advice(tmp_path, monkeypatch, wait, reported):
    """A step takes 1 s: training waits a third of the time, or less than a tenth of it."""
    clock = measured_by(monkeypatch)

    class Slow:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __iter__(self) -> Any:
            for batch in self.loader:
                clock.now += wait
                yield batch

    change = lambda loop: setattr(loop.timed_loader, "loader", Slow(loop.timed_loader.loader))  # noqa: E731
    train(tmp_path, 45, EACH, change=change, evaluations=[Steps(clock, 1.0)])
    found = [line for line in lines(tmp_path, "event") if line["event"] == "waiting"]
    assert len(found) == reported
    for line in found:
        assert train_log.WAITING_AFTER_S <= line["wall_seconds"] < train_log.WAITING_AFTER_S + 3
        assert line["fraction"] == pytest.approx(1 / 3, abs=0.02)
        assert line["message"].startswith(
            f"data: training has waited for data {line['fraction']:.0%} of the time so far; "
        )
        assert "try more data.workers (0 a rank now, " in line["message"]


def test_advice_to_who_has_a_worker_on_every_core():
    assert train_log.faster_data(3, 4) == "try more data.workers (3 a rank now, 4 cores here)"
    assert train_log.faster_data(4, 4).startswith("data.workers=4 is as many as there are cores: ")


def test_logit_scale_stays_in_its_bounds(tmp_path):
    wild = replace(EACH, optimizer=OptimizerConfig(lr=5.0, warmup_steps=0, clip_norm=None))
    loop = train(tmp_path, 8, wild)
    scales = [line["train/logit_scale"] for line in lines(tmp_path, "train")]
    assert max(scales) <= 100 * (1 + 1e-5)
    assert min(scales) >= 1 - 1e-5
    assert float(loop.module.model.logit_scale.detach()) in (0.0, pytest.approx(math.log(100)))


def test_nan_loss_stops_with_step_samples_and_last_good_checkpoint(tmp_path):
    def poison(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            loss = step(batch, batch_idx)
            bad = loop.module.step_under_way == 13
            if bad:
                loop.module.losses._waiting[-1] = (13, loss.detach() * math.nan, batch["keys"])
            return loss * (math.nan if bad else 1.0)

        loop.module.training_step = training_step

    with pytest.raises(
        RunError, match=r"train/loss is nan at step 13; samples: s12-0, s12-1, .* and 3 more; "
    ) as caught:
        train(tmp_path, 40, CONFIG, change=poison)
    bad = next(line for line in lines(tmp_path, "event") if line["event"] == "not_finite")
    assert (bad["step"], bad["keys"]) == (13, [f"s12-{n}" for n in range(8)])
    assert "last good checkpoint: " in str(caught.value)
    assert "step-000000010.ckpt" in str(caught.value)
    assert all(torch.isfinite(w).all() for w in weights(tmp_path).values())
    assert newest(tmp_path / "checkpoints")[0].name == "last.ckpt"


def test_a_signal_stops_at_the_border_of_a_step(tmp_path):
    loop = train(tmp_path, 100, change=stop_at(7))
    assert loop.stop_check.stopping == 15
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 7


def test_precision_bf16(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, precision="bf16-mixed"))
    train(tmp_path / "b", 5, config)
    train(tmp_path / "f", 5, EACH)
    there, ours = train_losses(tmp_path / "b"), train_losses(tmp_path / "f")
    assert there != ours
    assert all(there[s] == pytest.approx(ours[s], rel=0.05) for s in ours)
