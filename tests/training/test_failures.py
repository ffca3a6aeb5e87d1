# SPDX-License-Identifier: Apache-2.0
"""The loop where something fails: data, a callback, a rank; and what is saved."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rank_processes import run_ranks
from train_synthetic import EACH, lines, train, train_losses, weights

from clip_align.config import TrainerConfig
from clip_align.training.checkpoint_files import OWN, load
from clip_align.training.signals import Signals
from clip_align.training.training_loop import TrainingLoop


def test_after_a_signal_an_error_of_the_data_is_their_end(tmp_path):
    signals = Signals()

    class Broken:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __iter__(self) -> Any:
            for number, batch in enumerate(self.loader):
                if number == 6:
                    signals.received = 2
                    raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Interrupt.")
                yield batch

    def change(loop: TrainingLoop) -> None:
        loop.timed_loader.loader = Broken(loop.timed_loader.loader)

    loop = train(tmp_path, 100, signals=signals, change=change)
    assert loop.stop_check.stopping == 2
    assert load(tmp_path / "checkpoints" / "last.ckpt")[OWN]["cursor"] == [0, loop.run_position.step]


def test_a_signal_before_the_first_batch_ends_the_run_with_its_code(tmp_path):
    """Workers that did not answer were ended for it: there is nothing to end in order yet, and no failure either."""
    signals = Signals()

    class Broken:
        def __iter__(self) -> Any:
            signals.received = 15
            yield from iter([])
            raise RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly")

    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, 5, signals=signals, change=lambda loop: setattr(loop.timed_loader, "loader", Broken()))
    assert stopped.value.code == 143


def test_without_a_signal_an_error_of_the_data_is_an_error(tmp_path):
    class Broken:
        def __iter__(self) -> Any:
            yield from iter([])
            raise RuntimeError("no such luck")

    with pytest.raises(RuntimeError, match="no such luck"):
        train(tmp_path, 5, change=lambda loop: setattr(loop.timed_loader, "loader", Broken()))


class Ends:
    """A loader whose data cannot be read at batch ``number``."""

    def __init__(self, loader: Any, number: int) -> None:
        self.loader, self.number = loader, number

    def __iter__(self) -> Any:
        for number, batch in enumerate(self.loader):
            if number == self.number:
                raise OSError(errno.EIO, "Input/output error")
            yield batch


class Raises(pl.Callback):
    """Fails at ``step``: after it, like an evaluation, or inside the next one."""

    def __init__(self, step: int, inside: bool) -> None:
        self.step, self.inside = step, inside

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step and not self.inside:
            raise ValueError("cannot be scored")

    def on_before_optimizer_step(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step and self.inside:
            raise ValueError("inside a step")


def steps_kept(folder: Any) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("what", ["data", "callback"])
def test_a_failure_between_two_steps_costs_no_step(tmp_path, accumulate, what):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate_grad_batches=accumulate))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, 19, config)
    with pytest.raises((OSError, ValueError), match=r"Input/output error|cannot be scored"):
        train(
            parts,
            19,
            config,
            change=lambda loop: (
                setattr(loop.checkpoints, "resume_with", "resume=parts")
                or (
                    what == "data"
                    and setattr(loop.timed_loader, "loader", Ends(loop.timed_loader.loader, 13 * accumulate + 1))
                )
            ),
            evaluations=[Raises(13, inside=False)] if what == "callback" else (),
        )
    kept = 13  # the trainer fetches one batch ahead
    assert steps_kept(parts)[-1] == f"step-{kept:09d}.ckpt"
    assert lines(parts, "event")[-2]["message"] == f"checkpoint saved: step-{kept:09d}.ckpt"
    assert lines(parts, "event")[-1]["message"] == "to resume: resume=parts"
    assert load(parts / "checkpoints" / "last.ckpt")["global_step"] == kept
    train(parts, 19, config)
    assert train_losses(parts) == train_losses(whole)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name


def test_nothing_is_saved_after_a_failure_inside_an_update(tmp_path):
    with pytest.raises(ValueError, match="inside a step"):
        train(tmp_path, 19, EACH, evaluations=[Raises(13, inside=True)])
    assert steps_kept(tmp_path) == ["step-000000010.ckpt"]


def test_a_failure_in_the_middle_of_an_accumulated_step_costs_that_step(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate_grad_batches=3))
    train(tmp_path / "whole", 19, config)
    with pytest.raises(OSError, match="Input/output error"):
        train(
            tmp_path / "parts",
            19,
            config,
            change=lambda loop: setattr(loop.timed_loader, "loader", Ends(loop.timed_loader.loader, 14 * 3 + 2)),
        )
    assert steps_kept(tmp_path / "parts") == ["step-000000010.ckpt", "step-000000014.ckpt"]
    train(tmp_path / "parts", 19, config)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")


def test_a_failure_with_weights_that_are_not_finite_saves_nothing(tmp_path):
    class Spoil(Raises):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if trainer.global_step == self.step:
                pl_module.model.visual.weight.data[0, 0] = math.nan
            super().on_train_batch_end(trainer, pl_module, *rest)

    with pytest.raises(ValueError, match="cannot be scored"):
        train(tmp_path, 19, EACH, evaluations=[Spoil(13, inside=False)])
    assert steps_kept(tmp_path) == ["step-000000010.ckpt"]


def test_a_failure_that_cannot_be_saved_keeps_its_own_reason(tmp_path, monkeypatch):
    def full(checkpoint: Any, file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full(Raises):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            monkeypatch.setattr(torch, "save", full)
            super().on_train_batch_end(trainer, *rest)

    with pytest.raises(ValueError, match="cannot be scored"):
        train(tmp_path, 19, EACH, evaluations=[Full(7, inside=False)])
    warning = lines(tmp_path, "event")[-1]
    assert warning["event"] == "warning"
    assert warning["message"].startswith("no checkpoint was saved after the failure: checkpoint: ")


@pytest.mark.slow
@pytest.mark.parametrize("known_to", ["all", "one", "none"])
def test_a_failure_of_two_ranks_is_saved_exactly_once_and_resumed_from_as_if_it_had_not_been(tmp_path, known_to):
    """By the first rank alone, although each draws numbers of its own: at a border, and after one rank has ended."""
    assert run_ranks("failing_rank.py", 2, tmp_path / "whole", "nobody") == [(0, "")] * 2
    found = run_ranks("failing_rank.py", 2, tmp_path / "parts", known_to)
    assert [code for code, _ in found] == ([1, 1] if known_to != "none" else [1, 7]), found
    saved = [line["file"] for line in lines(tmp_path / "parts", "event") if line["event"] == "checkpoint"]
    assert saved == ["step-000000010.ckpt", "step-000000013.ckpt"]
    assert run_ranks("failing_rank.py", 2, tmp_path / "parts", "nobody") == [(0, "")] * 2
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")
    assert len(set(train_losses(tmp_path / "whole").values())) == 20
