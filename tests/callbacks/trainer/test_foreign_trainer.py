# SPDX-License-Identifier: Apache-2.0
"""The callbacks in a plain Trainer around somebody else's module: a bare open_clip model, nothing of ours attached."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import pytorch_lightning as pl
import stubs
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.base import EvaluationSettings, attach
from clip_align.callbacks.trainer.average import averaged_by
from clip_align.errors import UserError
from clip_align.record.record import History, Record, read, read_items

warnings.filterwarnings("ignore", module="pytorch_lightning")


class MyCLIP(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
        text = {"context_length": 4, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
        self.model = open_clip.model.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        image, text, scale = self.model(*batch)
        return torch.nn.functional.cross_entropy(scale * image @ text.T, torch.arange(len(image)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def loader() -> DataLoader:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(32, 3, 32, 32), torch.randint(0, 63, (32, 4))), batch_size=8)


def test_a_bare_open_clip_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    callbacks = [stubs.Pairs(every_n_steps=3, layers=("projection", 1)), stubs.Named(every_n_steps=3)]
    logger = pl.loggers.CSVLogger(tmp_path)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=callbacks, logger=logger, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(MyCLIP(), loader())
    history = read(Path(logger.log_dir) / "clip-align")
    assert [line["global_step"] for line in history.evaluations] == [0, 1, 2, 3, 4, 6, 8]
    assert set(history.benchmarks) == {"human/pairs", "zero_shot/named"}
    last = history.evaluations[-1]
    assert {"human/pairs/srocc", "human/pairs/srocc@layer_1", "human/pairs/srocc@layer_1/low"} <= set(last)
    assert trainer.callback_metrics["human/pairs/srocc@layer_1"].item() == pytest.approx(
        last["human/pairs/srocc@layer_1"]
    )
    assert math.isfinite(trainer.callback_metrics["zero_shot/named/srocc"])
    items = read_items(Path(logger.log_dir) / "clip-align", "human/pairs")
    assert items is not None
    assert items.steps == [0, 1, 2, 3, 4, 6, 8]
    assert set(items.model) == {"value", "value@layer_1"}


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import json, pytorch_lightning as pl, torch
from pathlib import Path
from functools import partial
import stubs
from test_foreign_trainer import MyCLIP, loader
from clip_align.callbacks.base import Stimulus
import numpy as np

def black(i):                     # a function of the script itself
    return np.full((40, 40, 3), i, np.uint8)

class Mine(stubs.Pairs):
    def stimuli(self):
        for i, name in enumerate((*self.ids[0], *self.ids[1])):
            yield Stimulus(name, partial(black, i * 7))

print("the script was run")       # by each rank, never by whatever makes images
callbacks = [stubs.Pairs(every_n_steps=2), Mine(name="mine", prefix="mine")]
options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
where = dict(accelerator="cpu", devices={devices}, strategy="{strategy}", default_root_dir={folder!r})
trainer = pl.Trainer(max_steps=3, callbacks=callbacks, **where, **options)
torch.manual_seed(0)
trainer.fit(MyCLIP(), loader())
"""


@pytest.mark.slow
def test_two_ranks_in_a_script_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parents[1] / "battery"), str(here.parents[2])]
    for devices, strategy in ((1, "auto"), (2, "ddp")):
        folder = tmp_path / str(devices)
        script = tmp_path / f"train{devices}.py"
        script.write_text(SCRIPT.format(paths=paths, devices=devices, strategy=strategy, folder=str(folder)))
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("the script was run") == devices
        history = read(folder / "clip-align")
        assert [line["global_step"] for line in history.evaluations] == [0, 1, 2, 3]
        assert [line["samples_seen"] for line in history.evaluations] == [0, 8 * devices, 16 * devices, 24 * devices]
        assert not (folder / "clip-align-2").exists()
    one, two = (read(tmp_path / str(n) / "clip-align").evaluations[0] for n in (1, 2))
    assert two["human/pairs/srocc"] == one["human/pairs/srocc"]  # same weights, same numbers


def fit_with(
    folder: Path, callbacks: list[pl.Callback], module: pl.LightningModule, weights: dict[str, Any]
) -> History:
    pairs = stubs.Pairs(every_n_steps=2)
    attach([pairs], EvaluationSettings(folder / "cache", notify=lambda line: None, weights=weights))
    record = Record(folder)
    attach([pairs], replace(pairs.settings, record=record))
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=4, callbacks=[*callbacks, pairs], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader())
    record.close("done")
    return read(folder)


def test_the_average_of_a_trainers_own_callback_is_evaluated(tmp_path: Path) -> None:
    pl.seed_everything(0)
    module, other = MyCLIP(), MyCLIP()
    other.load_state_dict(module.state_dict())
    averaging = EMAWeightAveraging(decay=0.5)
    weights = {"ema": averaged_by(averaging, module), "raw": nullcontext}
    both = fit_with(tmp_path / "both", [averaging], module, weights)
    raw = fit_with(tmp_path / "raw", [], other, {"raw": nullcontext})
    assert both.benchmarks["human/pairs"]["weights"] == "ema"
    key = "human/pairs/srocc"
    assert [line[f"{key}@raw"] for line in both.evaluations] == [line[key] for line in raw.evaluations]
    assert both.evaluations[0][key] == raw.evaluations[0][key]
    # Lightning leaves the average in the module when training has ended
    under_test = stubs.evaluated_model(module.model)
    scores = stubs.evaluated([stubs.Pairs()], replace(under_test, image_size=32), tmp_path / "cache")
    assert both.evaluations[-1][key] == scores[key] != both.evaluations[-1][f"{key}@raw"]


def test_an_averaging_callback_that_the_trainer_does_not_have_is_named(tmp_path: Path) -> None:
    module = MyCLIP()
    with pytest.raises(UserError) as caught:
        fit_with(tmp_path, [], module, {"ema": averaged_by(EMAWeightAveraging(), module)})
    assert str(caught.value) == (
        "weights: EMAWeightAveraging is not among the Trainer's callbacks; pass it to the Trainer too"
    )
