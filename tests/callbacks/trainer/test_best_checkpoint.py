# SPDX-License-Identifier: Apache-2.0
"""The key of the best checkpoint: any that a run records is accepted, all others are refused with those there are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stubs
import torch
from small_training import Module, fit, steps

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.trainer.best_checkpoint import BestCheckpoint, best_file, higher_is_better
from clip_align.config import ModelConfig
from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.models.build import build_model


def tower() -> EvaluatedModel:
    """The tiny model: layers 0 to 5."""
    clip = build_model(ModelConfig(image_size=16), ["a"])
    return EvaluatedModel(clip.model, 16, (0.5,) * 3, (0.25,) * 3, stubs.Words())


class Described(stubs.Pairs):
    """A score with details by type, and one without a best value."""

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        first = replace(self.scores[0], by="type")
        self.scores = (first, replace(first, name="bias", by=None, higher_is_better=None))

    def items(self, features: Features) -> Items:
        items = super().items(features)
        return replace(items, conditions={"type": np.array(["jpeg", "blur", "white noise", "jpeg"] * 2)})


def refusal(key: str, callbacks: Sequence[stubs.Pairs], weights: Sequence[str] = ("raw",)) -> str:
    with pytest.raises(UserError) as caught:
        higher_is_better(key, callbacks, "checkpoint.best", weights)
    (problem,) = caught.value.problems
    assert problem.key == "checkpoint.best"
    return str(problem)


@pytest.mark.parametrize("layers", [("projection",), (2, 0), ("all",), ("projection", "all")])
@pytest.mark.parametrize("weights", [("raw",), ("raw", "ema"), ("ema", "raw")])
def test_every_key_that_an_event_records_is_accepted(
    tmp_path: Path, layers: Sequence[int | str], weights: Sequence[str]
) -> None:
    """Before the callback knows its model, and after."""
    sets = dict.fromkeys(weights, contextlib.nullcontext)
    made, _ = stubs.evaluator([Described(layers=layers)], tower(), tmp_path, weights=sets)
    recorded = made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert recorded is not None
    rated = [key for key in recorded if not key.startswith("human/pairs/bias")]
    assert len(rated) >= 4 * len(weights) * len(layers)  # the score and its details by three types
    for callback in (Described(layers=layers), *made.benchmarks.values()):
        assert all(higher_is_better(key, [callback], "checkpoint.best", weights) for key in rated)  # type: ignore[list-item]
    for key in set(recorded) - set(rated):
        assert refusal(key, [Described(layers=layers)], weights).startswith(f"checkpoint.best: {key} has no best value")


def test_other_keys_are_refused_with_those_there_are(tmp_path: Path) -> None:
    callback = Described(layers=("projection", "all"))
    stubs.evaluator([callback], tower(), tmp_path)
    for absent in ("srocc@layer_6", "srocc@ema", "srocc@layer_5@ema", "srocc_level_5", "srocc@projection", "plcc"):
        line = refusal(f"human/pairs/{absent}", [callback])
        suffixes = ["", *(f"@layer_{n}" for n in range(6))]
        valid = sorted(f"human/pairs/srocc{more}{s}" for s in suffixes for more in ("", "_type_…"))
        assert line == (
            f"checkpoint.best: no callback of this run writes human/pairs/{absent}; valid: {', '.join(valid)}"
        )
    assert refusal("human/other/srocc@ema", [stubs.Pairs()], ["raw", "ema"]) == (
        "checkpoint.best: no callback of this run writes human/other/srocc@ema; "
        "valid: human/pairs/srocc, human/pairs/srocc@ema"
    )


def test_a_key_that_the_trainer_does_not_record_is_refused_before_step_0(tmp_path: Path) -> None:
    best = BestCheckpoint("human/pairs/srocc@layer_9", tmp_path)
    with pytest.raises(UserError) as caught:
        fit(tmp_path, [best, stubs.Pairs(every_n_steps=1)], max_steps=1)
    assert str(caught.value) == (
        "BestCheckpoint: no callback of this run writes human/pairs/srocc@layer_9; valid: human/pairs/srocc"
    )


def test_files_of_different_keys_have_different_names() -> None:
    keys = ["human/pairs/srocc", "human/pairs/srocc@ema", "human/pairs/srocc@layer_6", "human/pairs/srocc@layer_6@ema"]
    assert len({best_file(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("lower_is_better", [None, True])
def test_the_best_checkpoint_has_the_weights_that_were_scored(tmp_path: Path, lower_is_better: bool | None) -> None:
    best = BestCheckpoint("human/pairs/srocc", tmp_path / "kept", lower_is_better)
    callbacks = [best, stubs.Pairs(every_n_steps=1)]  # in any order
    _, _, record = fit(tmp_path, callbacks, settings={}, max_steps=8)
    values = {step: record.scores(step)["human/pairs/srocc"] for step in steps(record)}
    wanted = (min if lower_is_better else max)(values.values())
    assert best.best == wanted
    assert best.path.name == "best-human-pairs-srocc.ckpt"
    kept = torch.load(best.path, weights_only=True)
    assert values[kept["global_step"]] == wanted
    module = Module()
    module.load_state_dict(kept["state_dict"])
    again = stubs.evaluated([stubs.Pairs()], stubs.EvaluatedModel(module.clip, stubs.SIZE, *_openai()), tmp_path)
    assert again["human/pairs/srocc"] == wanted


def _openai() -> Any:
    from clip_align.evaluation.evaluated_model import OPENAI_MEAN, OPENAI_STD

    return OPENAI_MEAN, OPENAI_STD
