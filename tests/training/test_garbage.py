# SPDX-License-Identifier: Apache-2.0
"""The garbage collector stays out of training steps, and is afterwards as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from train_synthetic import EACH, train

from clip_align.training.garbage import GarbageCollection
from clip_align.training.training_loop import TrainingLoop


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Whatever a test does, the tests after it find what they would have found."""
    yield
    gc.enable()
    gc.unfreeze()


class Seen(pl.Callback):
    """Whether the collector runs, and how much is frozen, at the border of each step."""

    def __init__(self) -> None:
        self.between: list[tuple[bool, bool]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.between.append((gc.isenabled(), gc.get_freeze_count() > 1000))


def in_steps(found: list[tuple[bool, bool]]) -> Any:
    def change(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> Any:
            found.append((gc.isenabled(), gc.get_freeze_count() > 1000))
            return step(batch, batch_idx)

        loop.module.training_step = training_step  # type: ignore[method-assign]

    return change


def test_it_runs_between_steps_only(tmp_path: Path) -> None:
    seen, within = Seen(), list[tuple[bool, bool]]()
    train(tmp_path, 5, EACH, change=in_steps(within), evaluations=[seen])
    assert within == [(False, True)] * 5
    assert seen.between == [(True, True)] * 5
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_who_has_switched_it_off_finds_it_off(tmp_path: Path) -> None:
    gc.disable()
    seen = Seen()
    train(tmp_path, 3, EACH, evaluations=[seen])
    assert [enabled for enabled, _ in seen.between] == [False] * 3
    assert not gc.isenabled()


def test_what_somebody_has_frozen_stays_frozen() -> None:
    collection = GarbageCollection()
    theirs = [collection]
    gc.freeze()
    with collection.restored():
        collection.on_train_start(None, None)  # type: ignore[arg-type]
    assert not any(one is theirs for one in gc.get_objects())  # which lists what is not frozen


def test_after_a_failure_too(tmp_path: Path) -> None:
    def change(loop: TrainingLoop) -> None:
        def training_step(batch: dict[str, Any], batch_idx: int) -> Any:
            raise ValueError("here")

        loop.module.training_step = training_step  # type: ignore[method-assign]

    with pytest.raises(ValueError, match="here"):
        train(tmp_path, 3, EACH, change=change)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
