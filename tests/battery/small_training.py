# SPDX-License-Identifier: Apache-2.0
"""A small training in a real Trainer, for tests of the hooks that evaluate in one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import stubs
import torch
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback, attach
from clip_align.record.record import read

warnings.filterwarnings("ignore", module="pytorch_lightning")
SAMPLES, BATCH = 48, 4


class Module(pl.LightningModule):
    """Somebody's training: dropout and shuffling draw random numbers at every step."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.clip, self.losses, self.breaks_at = stubs.StubModel(), [], breaks_at

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self.global_step == self.breaks_at:
            raise ValueError("training broke")
        loss = self.clip.encode_image(batch[0]).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    folder: Path,
    callbacks: Sequence[pl.Callback],
    module: pl.LightningModule | None = None,
    settings: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **trainer: Any,
) -> tuple[pl.Trainer, Any, Any]:
    """Train; returns the trainer, the module and what was recorded (settings None: a foreign Trainer)."""
    record = stubs.Memory()
    if settings is not None:
        mine = [c for c in callbacks if isinstance(c, PerceptualCallback)]
        attach(mine, EvaluationSettings(folder / "cache", record=record, notify=lambda line: None, **settings))  # type: ignore[arg-type]
    torch.manual_seed(1)
    module = module or Module()
    images = torch.randn(SAMPLES, 3, stubs.SIZE, stubs.SIZE, generator=torch.Generator().manual_seed(0))
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **trainer}
    made = pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_model_summary=False,
        **options,
    )
    made.fit(module, DataLoader(TensorDataset(images), BATCH, shuffle=True), ckpt_path=ckpt_path, weights_only=True)
    return made, module, record


def steps(record: Any, key: str = "human/pairs/srocc") -> list[int]:
    return [line["global_step"] for line in record.lines if line["kind"] == "evaluation" and key in line]


def kept_at(folder: Path, step: int) -> pl.Callback:
    return pl.callbacks.ModelCheckpoint(folder, filename=f"at-{step}", every_n_train_steps=step)


def curve(folder: Path) -> list[tuple[int, int]]:
    return [(line["global_step"], line["samples_seen"]) for line in read(folder).evaluations]
