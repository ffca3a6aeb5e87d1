# SPDX-License-Identifier: Apache-2.0
"""A training on made-up batches, in this process."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import Cursor, Pair, loader

from clip_align.config import CheckpointConfig, Config, OptimizerConfig, TrainerConfig
from clip_align.config_plain import to_plain
from clip_align.losses.base import Loss
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.training import launch_ranks as launch
from clip_align.training.checkpoint_files import OWN, load, newest
from clip_align.training.clip_module import CLIPModule
from clip_align.training.signals import Signals
from clip_align.training.train_log import LogSchedule, RunPosition, faster_data
from clip_align.training.training_loop import TrainingLoop, build_loop
from clip_align.training.weight_average import Span, WeightAverage

CONFIG = Config(
    trainer=TrainerConfig(kind="cpu", log_every_n_steps=5),
    optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2),
    checkpoint=CheckpointConfig(every_n_steps=10),
)

STEADY = replace(CONFIG, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2, schedule="constant"))
EACH = replace(STEADY, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1))


def train(
    folder: Path,
    steps: int,
    config: Config = CONFIG,
    workers: int = 0,
    signals: Signals | None = None,
    change: Callable[[TrainingLoop], None] = lambda loop: None,
    layout: launch.RankLayout | None = None,
    evaluations: Any = (),
    span: Span | None = None,
    model: Callable[[], nn.Module] = Pair,
    loss: Loss | None = None,
) -> TrainingLoop:
    """Train to ``steps``, resuming from the newest checkpoint in ``folder``; ``span``: of an average of the weights."""
    layout = layout or launch.RankLayout(0, 0, 1, 1, gpu=False)
    ranks = Ranks()
    torch.manual_seed(0)
    fused = config.trainer.precision != "16-mixed"
    trained = model()
    average = WeightAverage(trained, span) if span is not None else None
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    speed = {"tf32": config.trainer.tf32, "channels_last": config.trainer.channels_last}
    module = CLIPModule(trained, mean, std, config.optimizer, steps, fused, loss, average=average, **speed)
    found = newest(folder / "checkpoints")
    own = found[1][OWN] if found else {"cursor": [0, 0], "wall_seconds": 0.0, "global_step": 0}
    cursor = Cursor(*own["cursor"])
    first = cursor.epoch * 10 + cursor.batch
    record = Record(folder) if ranks.rank == 0 else None
    global_batch = 8 * ranks.world * config.trainer.batches_per_step
    run_position = RunPosition(global_batch, cursor, own["wall_seconds"], own["global_step"])
    batches = loader(first, workers, rank=ranks.rank, world=ranks.world)
    loop = build_loop(
        module,
        batches,
        run_position,
        LogSchedule(config.trainer.log_every_n_steps, steps, advice=faster_data(config.data.workers, os.cpu_count())),
        config.checkpoint,
        folder / "checkpoints",
        {"config": to_plain(config), "words": None},
        ranks=ranks,
        signals=signals or Signals(),
        record=record,
        accumulate=config.trainer.accumulate,
    )
    change(loop)
    loop.run(config.trainer, layout, evaluations, found[0] if found else None)
    return loop


def stop_at(last: int) -> Callable[[TrainingLoop], None]:
    """A change of a loop: SIGTERM has come when step ``last`` is under way."""

    def change(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            if loop.module.step_under_way == last:
                loop.timed_loader.signals.received = 15
            return step(batch, batch_idx)

        loop.module.training_step = training_step  # type: ignore[method-assign]

    return change


def overflowing(*steps: int) -> Callable[[TrainingLoop], None]:
    """Gradients that are infinite at these steps, and a finite loss."""

    def change(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            loss = step(batch, batch_idx)
            if loop.module.step_under_way in steps:
                loss.register_hook(lambda gradient: gradient * math.inf)
            return loss

        loop.module.training_step = training_step  # type: ignore[method-assign]

    return change


def take_scaler(monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    """Lightning takes bf16 for half precision on the CPU; from now on it takes torch's scaler, as on a GPU.

    ``first``: the scale that it begins at.
    """
    trainer = pl.Trainer

    def with_scaler(**options: Any) -> pl.Trainer:
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=first))
        return trainer(**{**options, "precision": None, "plugins": [*options["plugins"], plugin]})

    monkeypatch.setattr(pl, "Trainer", with_scaler)


def lines(folder: Any, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def weights(folder: Any, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(folder / "checkpoints" / name)["state_dict"]
    return state


def train_losses(folder: Path) -> dict[int, float]:
    return {line["global_step"]: line["train/loss"] for line in lines(folder, "train")}
