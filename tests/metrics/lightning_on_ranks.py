# SPDX-License-Identifier: Apache-2.0
"""Run by test_modules.py: Metrics in a LightningModule, validated twice by a Trainer on 1 and on 2 forked ranks."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings

import pytorch_lightning as pl
import torch
from scipy.stats import spearmanr
from torch.utils.data import DataLoader, TensorDataset

from clip_align.metrics.modules import Accuracy, Srocc

N = 51  # odd: on two ranks the sampler repeats an item


class Quality(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.srocc, self.accuracy = Srocc(), Accuracy()

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        item, model, human, choice, right = batch
        self.srocc.update(item, model, human)
        self.accuracy.update(item, choice, right)
        self.log("val/srocc", self.srocc)
        self.log("val/accuracy", self.accuracy)


def logged(devices: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    model, noise = torch.randn(2, N, generator=generator, dtype=torch.float64)
    choice, right = torch.randint(3, (2, N), generator=generator)
    columns = (torch.arange(N), model, model + noise, choice, right)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader, module = DataLoader(TensorDataset(*columns), batch_size=8), Quality()
    first = trainer.validate(module, loader, verbose=False)
    if devices == 1:  # the second time counts the same items again only if the states were not reset
        assert trainer.validate(module, loader, verbose=False) == first
    figures = {name: float(value) for name, value in first[0].items()}
    truth = {
        "scipy": float(spearmanr(model, model + noise)[0]),
        "fraction right": float((choice == right).mean(dtype=torch.float64)),
    }
    return {**figures, **truth}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        # two ranks first: a process that has computed must not fork
        answers = {devices: logged(devices) for devices in (2, 1)}
    print(json.dumps(answers))
