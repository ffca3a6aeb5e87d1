# SPDX-License-Identifier: Apache-2.0
"""Runs whose models and texts are made otherwise: stopped, resumed and evaluated again, as what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from series_runs import TRAINING, command, lines, numbers

from clip_align.series.own_checkpoints import OwnCheckpoints, kept

TINY = ["model.tokenizer=open_clip", "model.context=20"]
VIT = [
    "model.name=ViT-S-32-alt", "model.image_size=64", "model.context_length=12", "model.patch_dropout=0.5",
    "trainer.activation_checkpointing=true", "trainer.channels_last=true", "trainer.tf32=true",
]  # fmt: skip


def run(name: str, options: list[str], pairs: Path, places: list[str]) -> Path:
    """A run of 8 steps that was stopped after 4: with a constant rate its length changes nothing."""
    data = [f"data.csv={pairs.with_name('captions.csv')}", f"callbacks.pairs_csv.csv={pairs}"]
    common = [word for word in TRAINING if not word.startswith(("name=", "trainer.max_steps="))]
    typed = [*common, *options, *data, *places, "optimizer.schedule=constant", "trainer.log_every_n_steps=1"]
    for parts, lengths in ((name, [4, 8]), (f"{name}-whole", [8])):
        for steps in lengths:
            done = command("train", *typed, f"name={parts}", "resume=auto", f"trainer.max_steps={steps}")
            assert done.returncode == 0, done.stdout + done.stderr
    return Path(places[0].partition("=")[2]) / name


def losses(folder: Path) -> dict[int, float]:
    return {line["global_step"]: line["train/loss"] for line in lines(folder, "train")}


@pytest.mark.parametrize(
    ("name", "options", "context"),
    [
        pytest.param("byte-pairs", TINY, 20, marks=pytest.mark.slow),
        pytest.param("vit", VIT, 12, marks=pytest.mark.exhaustive),
    ],
)
def test_it_is_resumed_and_evaluated_as_what_it_was(
    name: str, options: list[str], context: int, pairs: Path, places: list[str]
) -> None:
    folder = run(name, options, pairs, places)
    assert len(losses(folder)) == 8
    assert losses(folder) == losses(folder.with_name(f"{name}-whole"))
    done = command("evaluate", name, "trainer=cpu", *places)
    assert done.returncode == 0, done.stdout + done.stderr
    live, again = numbers(folder), numbers(folder.with_name(f"{name}-evaluated"))
    for key in ("human/pairs_csv/srocc", "human/pairs_csv/srocc@raw"):
        assert again[8][key] == pytest.approx(live[8][key], abs=1e-6)
    checkpoints = folder / "checkpoints"
    series = OwnCheckpoints(name, str(folder), lambda: kept(checkpoints), ["raw"], torch.device("cpu"))
    model = series.load(series.members()[0][-1])
    assert model.tokenizer is not None
    tokens = model.tokenizer(["a photograph of an unheard-of thing"])
    assert tokens.shape == (1, context)
    assert int(tokens.max()) == 49_407  # the end of a text, in open_clip's vocabulary
    assert model.model.encode_text(tokens).shape[0] == 1  # type: ignore[operator]
