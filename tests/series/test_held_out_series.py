# SPDX-License-Identifier: Apache-2.0
"""Benchmarks on held-out samples in an evaluation: they are shown the samples that the training holds out."""

from __future__ import annotations

from pathlib import Path

from clip_align.callbacks.zero_shot.held_out import HeldOut
from clip_align.series.prepare import Request, prepare
from clip_align.settings.load_config import load


def test_an_evaluation_shows_what_the_training_holds_out(shared_data: Path, tmp_path: Path) -> None:
    typed = {
        "data": "webdataset",
        "data.shards": str(shared_data / "cifar10" / "train" / "0000{0,1}.tar"),
        "data.held_out": "150",
        "callbacks": "[held_out]",
        "paths.cache": str(tmp_path / "cache"),
        "paths.runs": str(tmp_path / "runs"),
    }
    config = load([f"{key}={value}" for key, value in typed.items()])
    _, (callback,), _ = prepare(Request((), config, frozenset(typed), observer="grey"), lambda line: None)
    assert isinstance(callback, HeldOut)
    assert len(callback.images.ids) == 150
