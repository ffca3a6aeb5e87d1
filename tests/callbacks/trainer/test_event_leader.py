# SPDX-License-Identifier: Apache-2.0
"""The hooks in a real Trainer: when they evaluate, and that they do not disturb training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import stubs
import torch
from small_training import Module, fit, steps

from clip_align.evaluation.schedule import Schedule


def test_step_0_early_regular_and_last_steps_are_evaluated_once(tmp_path: Path) -> None:
    callbacks = [stubs.Pairs(every_n_steps=4), stubs.Named(every_n_steps=5)]
    _, _, record = fit(tmp_path, callbacks, settings={"schedule": Schedule(early_steps=(2,))}, max_steps=11)
    assert steps(record) == [0, 2, 4, 8, 11]
    assert steps(record, "zero_shot/named/srocc") == [0, 2, 5, 10, 11]
    assert all(c.last_step == 11 for c in callbacks)


def test_under_accumulation_a_step_is_evaluated_once(tmp_path: Path) -> None:
    _, _, record = fit(tmp_path, [stubs.Pairs(every_n_steps=2)], settings={}, max_steps=5, accumulate_grad_batches=2)
    assert steps(record) == [0, 1, 2, 3, 4, 5]


def test_a_last_step_that_nobody_knew_is_evaluated_by_all(tmp_path: Path) -> None:
    callbacks = [stubs.Pairs(every_n_steps=12), stubs.Named(every_n_steps=100)]
    _, _, record = fit(tmp_path, callbacks, settings={"schedule": Schedule(early_steps=())}, max_epochs=1)
    assert steps(record) == [0, 12, 12]  # the second line has both benchmarks; a reader takes the last of a step
    assert steps(record, "zero_shot/named/srocc") == [0, 12]
    assert len({"human/pairs/srocc", "zero_shot/named/srocc"} & set(record.lines[-1])) == 2


def test_nothing_is_evaluated_after_an_exception(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=100)
    with pytest.raises(ValueError, match="training broke"):
        fit(tmp_path, [callback], Module(breaks_at=3), settings={"schedule": Schedule(early_steps=())}, max_steps=9)
    assert callback.last_step == 0


def test_an_interrupted_event_records_nothing_and_counts_as_not_evaluated(tmp_path: Path) -> None:
    callback = stubs.Pairs(every_n_steps=2)
    _, _, record = fit(tmp_path, [callback], settings={"interrupted": lambda: True}, max_steps=3)
    assert record.lines == []
    assert callback.last_step is None


def test_a_resumed_run_does_not_repeat_the_evaluated_step(tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=4)
    options = {"settings": {"schedule": Schedule(early_steps=())}}
    fit(tmp_path, [stubs.Pairs(every_n_steps=2), keep], max_steps=4, enable_checkpointing=True, **options)
    callback = stubs.Pairs(every_n_steps=2)
    _, _, record = fit(tmp_path, [callback], max_steps=7, ckpt_path=tmp_path / "kept.ckpt", **options)
    assert steps(record) == [6, 7]


def test_an_event_that_was_cut_off_is_made_up_for_on_resume(tmp_path: Path) -> None:
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=4)
    options: dict[str, Any] = {"settings": {"schedule": Schedule(early_steps=())}}
    fit(tmp_path, [stubs.Pairs(every_n_steps=100), keep], max_steps=6, enable_checkpointing=True, **options)
    _, _, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=4)], max_steps=7, ckpt_path=tmp_path / "kept.ckpt", **options
    )
    assert steps(record) == [4, 7]


def test_training_is_bit_identical_with_callbacks_on_or_off(tmp_path: Path) -> None:
    _, off, _ = fit(tmp_path, [], max_steps=14)
    _, on, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=3), stubs.Named(every_n_steps=2)], settings={}, max_steps=14
    )
    assert len(steps(record)) > 4
    assert on.losses == off.losses
    assert all(torch.equal(a, b) for a, b in zip(on.parameters(), off.parameters(), strict=True))


def test_undefined_scores_are_nan_in_callback_metrics(tmp_path: Path) -> None:
    module = Module()
    constant = stubs.ConstantModel()
    trainer, _, record = fit(tmp_path, [stubs.Pairs(model=constant)], module, settings={}, max_steps=1)
    assert math.isnan(trainer.callback_metrics["human/pairs/srocc"])
    assert record.scores(1)["human/pairs/srocc"] is None
