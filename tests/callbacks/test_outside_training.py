# SPDX-License-Identifier: Apache-2.0
"""In somebody's Trainer: its loggers, ``validate`` and ``test``, and a fit without steps."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import stubs
import torch
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from small_training import BATCH, Module, curve, fit
from torch.utils.data import DataLoader, TensorDataset
from wandb_files import inspected, rows

from clip_align.callbacks.trainer.loggers import log_scores
from clip_align.record.record import read


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


class Validated(Module):
    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        pass

    def test_step(self, batch: list[torch.Tensor], index: int) -> None:
        pass


def images() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.zeros(8, 3, stubs.SIZE, stubs.SIZE)), BATCH)


def trainer_with(folder: Path, callback: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", callbacks=[callback], default_root_dir=folder, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def test_every_logger_gets_the_scores_at_their_steps(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, "csv", "0"), TensorBoardLogger(tmp_path, "tb", "0")]
    fit(tmp_path, [stubs.Pairs(every_n_steps=5)], max_steps=6, logger=loggers)
    recorded = {
        e["global_step"]: e["human/pairs/srocc"] for e in read(tmp_path / "csv" / "0" / "clip-align").evaluations
    }
    with (tmp_path / "csv" / "0" / "metrics.csv").open(encoding="utf-8") as file:
        rows = {
            int(row["step"]): float(row["human/pairs/srocc"])
            for row in csv.DictReader(file)
            if row["human/pairs/srocc"]
        }
    assert rows == pytest.approx(recorded)
    assert sorted(rows) == [0, 1, 2, 3, 4, 5, 6]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tb" / "0"))
    board.Reload()
    assert {s.step: s.value for s in board.Scalars("human/pairs/srocc")} == pytest.approx(recorded)


@pytest.mark.slow
def test_wandb_gets_the_scores_on_the_axis_of_the_trainers_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")  # the logger sets it itself, for longer than this test

    class Logged(Module):
        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            loss = super().training_step(batch, index)
            self.log("mine", loss)
            return loss

    logger = WandbLogger(save_dir=tmp_path, offline=True)
    fit(tmp_path, [stubs.Pairs(every_n_steps=2)], Logged(), max_steps=4, logger=logger, log_every_n_steps=1)
    logger.experiment.finish()
    (record,) = tmp_path.rglob("clip-align/metrics.jsonl")
    recorded = {e["global_step"]: e["human/pairs/srocc"] for e in read(record.parent).evaluations}
    found = rows(inspected(tmp_path))
    step = "trainer/global_step"
    assert {row[step]: row["human/pairs/srocc"] for row in found if "human/pairs/srocc" in row} == recorded
    assert sorted(recorded) == [0, 1, 2, 3, 4]
    assert [row[step] for row in found if "mine" in row] == [0, 1, 2, 3]  # the user's own rows are all there


def test_undefined_scores_are_left_out_and_mlflow_gets_names_it_takes() -> None:
    class Recorded(MLFlowLogger):
        def __init__(self) -> None:  # without a server
            self.given: dict[str, Any] = {}

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            self.given = {**metrics, "step": step}

    logger = Recorded()
    trainer: Any = SimpleNamespace(loggers=[logger])
    log_scores(trainer, 7, {"human/a/srocc@layer_6": 0.5, "human/a/plcc": None})
    assert logger.given == {"human/a/srocc.layer_6": 0.5, "step": 7}
    log_scores(trainer, 8, {"human/a/plcc": None})
    assert logger.given["step"] == 7  # an event without a value is no row


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_validate_and_test_evaluate_once(tmp_path: Path, verb: str) -> None:
    trainer = trainer_with(tmp_path, stubs.Pairs(every_n_steps=5))
    getattr(trainer, verb)(Validated(), images(), verbose=False)
    assert curve(tmp_path / "clip-align") == [(0, 0)]
    assert trainer.callback_metrics["human/pairs/srocc"].item() == pytest.approx(
        read(tmp_path / "clip-align").evaluations[0]["human/pairs/srocc"]
    )
    events = [event["event"] for event in read(tmp_path / "clip-align").events if event["event"] != "warning"]
    assert events == ["started", "finished"]


def test_validation_during_training_adds_no_event(tmp_path: Path) -> None:
    trainer = trainer_with(tmp_path, stubs.Pairs(every_n_steps=100), max_steps=4, val_check_interval=1)
    trainer.fit(Validated(), images(), images())
    assert [step for step, _ in curve(tmp_path / "clip-align")] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "clip-align-2").exists()


def test_validation_after_training_leaves_the_training_as_it_was(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=2)
    trainer, module = trainer_with(tmp_path, callback, max_steps=2), Validated()
    trainer.fit(module, images())
    trainer.validate(module, images(), verbose=False)
    assert [step for step, _ in curve(tmp_path / "clip-align-2")] == [2]  # evaluated again: the weights may be others
    trainer.fit_loop.epoch_loop.max_steps = 4
    trainer.fit(module, images())
    found = curve(tmp_path / "clip-align")
    assert [step for step, _ in found] == [0, 1, 2, 3, 4]
    assert found[-1][1] == 4 * BATCH


@pytest.mark.parametrize("nothing", [{"max_steps": 0}, {"max_epochs": 0}])
def test_a_fit_without_steps_evaluates_step_0(tmp_path: Path, nothing: dict[str, int]) -> None:
    fit(tmp_path, [stubs.Pairs(every_n_steps=5)], **nothing)
    assert curve(tmp_path / "clip-align") == [(0, 0)]


def test_an_evaluation_that_fails_outside_training_leaves_the_training_as_it_was(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=2)
    trainer, module = trainer_with(tmp_path, callback, max_steps=2), Validated()
    trainer.fit(module, images())

    class Full(CSVLogger):
        def log_metrics(self, *arguments: Any, **options: Any) -> None:
            raise OSError("disk full")

    trainer.loggers = [Full(tmp_path)]
    callback.last_step = 1  # as if the last step had not been evaluated
    with pytest.raises(OSError, match="disk full"):
        trainer.validate(module, images(), verbose=False)
    assert callback.last_step == 1
