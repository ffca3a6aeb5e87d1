# SPDX-License-Identifier: Apache-2.0
"""A failure that leaves a whole state costs no step of it: what is saved, and that a resumed run is the same run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from train_synthetic import CONFIG, train, train_losses

from clip_align.config import OptimizerConfig, TrainerConfig
from clip_align.training.checkpoint_files import OWN, load, step_file
from clip_align.training.run_end import RunEnd
from clip_align.training.training_loop import TrainingLoop

STEADY = replace(CONFIG, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2, schedule="constant"))


class Broken:
    """Batches that end with an error, and ``before`` it something else."""

    def __init__(self, loader: Any, after: int, before: Callable[[], object] = lambda: None) -> None:
        self.loader, self.after, self.before = loader, after, before

    def __iter__(self) -> Any:
        for number, batch in enumerate(self.loader):
            if number == self.after:
                self.before()
                raise ValueError("no more")
            yield batch


def in_data(loop: TrainingLoop, after: int) -> None:
    loop.timed_loader.loader = Broken(loop.timed_loader.loader, after)


def in_step(loop: TrainingLoop, after: int) -> None:
    """An error between two updates: out of memory, a rank that is gone."""
    step, done = loop.module.training_step, [0]

    def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        done[0] += 1
        if done[0] > after:
            raise ValueError("no more")
        return step(batch, batch_idx)

    loop.module.training_step = training_step


def failed(folder: Any, config: Any, how: Any, after: int) -> TrainingLoop:
    """A loop that has failed after so many batches."""
    kept: list[TrainingLoop] = []

    def change(loop: TrainingLoop) -> None:
        how(loop, after)
        kept.append(loop)

    with pytest.raises(ValueError, match="no more"):
        train(folder, 16, config, change=change)
    return kept[0]


@pytest.mark.parametrize("how", [in_data, in_step])
@pytest.mark.parametrize(("accumulate", "after"), [(1, 7), (2, 8), (2, 9), (3, 11), (3, 13)])
def test_a_run_goes_on_from_what_was_saved_as_if_nothing_had_been(tmp_path, how, accumulate, after):
    trainer = TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate_grad_batches=accumulate)
    config = replace(STEADY, trainer=trainer)
    train(tmp_path / "whole", 16, config)
    loop = failed(tmp_path / "parts", config, how, after)
    step = loop.run_position.step
    assert step >= 1
    name = f"step-{step:09d}.ckpt"
    assert loop.rescue.save() is None  # it is there, since the exception came
    record = (tmp_path / "parts" / "metrics.jsonl").read_text()
    assert record.count(f'"message": "checkpoint saved: {name}"') == 1
    content = load(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert (content["global_step"], content[OWN]["global_step"]) == (step, step)
    train(tmp_path / "parts", 16, config)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")


@pytest.mark.parametrize("how", [in_data, in_step])
def test_a_failure_with_workers_is_saved_exactly_once(tmp_path, capsys, how):
    """When the exception comes; the end of the run looks again."""
    run_end, kept = RunEnd(), []

    def change(loop: TrainingLoop) -> None:
        how(loop, 7)
        run_end.rescue = loop.rescue.save
        kept.append(loop)

    with run_end.followed():
        train(tmp_path, 16, STEADY, workers=2, change=change)
    assert run_end.code == 1
    assert capsys.readouterr().err.startswith("ValueError: no more")
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    saved = [event["file"] for event in events if event.get("event") == "checkpoint"]
    assert saved == [f"step-{kept[0].run_position.step:09d}.ckpt"]


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (13, "newest checkpoint: step-000000010.ckpt, 2 steps lost"),
        (12, "newest checkpoint: step-000000010.ckpt, 1 step lost"),
        (4, "no checkpoint had been written, 3 steps lost"),
        (11, None),
    ],
)
def test_what_a_rank_with_a_part_of_the_weights_cannot_save_is_in_the_error(tmp_path, capsys, monkeypatch, after, kept):
    """In the line and in the record; where the newest checkpoint is of the last step there is nothing to report."""
    monkeypatch.setattr("clip_align.training.rescue.is_sharded", lambda module: True)
    run_end = RunEnd()

    def change(loop: TrainingLoop) -> None:
        in_data(loop, after)
        run_end.rescue, run_end.unsaved = loop.rescue.save, loop.rescue.lost

    with run_end.followed():
        train(tmp_path, 16, STEADY, change=change)
    shown = "ValueError: no more (with HYDRA_FULL_ERROR=1 the whole traceback is shown)" + (f"; {kept}" if kept else "")
    assert capsys.readouterr().err.splitlines()[0] == shown
    assert not (tmp_path / "checkpoints" / step_file(after - 1)).exists() or kept is None


def test_in_the_middle_of_an_update_nothing_is_saved(tmp_path):
    def broken_update(loop: TrainingLoop, after: int) -> None:
        configure = loop.module.configure_optimizers

        def configured() -> Any:
            made = configure()
            optimizer = made[0][0] if isinstance(made, tuple) else made["optimizer"] if isinstance(made, dict) else made
            step, done = optimizer.step, [0]

            def update(closure: Any = None) -> Any:
                done[0] += 1
                if done[0] > after:
                    closure()
                    raise ValueError("no more")
                return step(closure)

            optimizer.step = update
            return made

        loop.module.configure_optimizers = configured

    loop = failed(tmp_path, STEADY, broken_update, 5)
    assert loop.run_position.step == 5
    assert loop.rescue.save() is None


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    def spoilt(loop: TrainingLoop, after: int) -> None:
        def spoil() -> None:
            with torch.no_grad():
                loop.module.model.visual.weight[0, 0] = torch.nan

        loop.timed_loader.loader = Broken(loop.timed_loader.loader, after, spoil)

    assert failed(tmp_path, STEADY, spoilt, 7).rescue.save() is None
    assert not (tmp_path / "checkpoints").exists()


def test_after_a_loss_that_is_no_number_nothing_is_saved(tmp_path):
    """Weights may still be finite: gradients of an infinite loss can be zero."""

    def infinite(loop: TrainingLoop, after: int) -> None:
        loss = partial(loop.module.losses.add, after, torch.tensor(torch.inf), ["a"])
        loop.timed_loader.loader = Broken(loop.timed_loader.loader, after, loss)

    loop = failed(tmp_path, STEADY, infinite, 7)
    assert loop.rescue.save() is None
    assert not (tmp_path / "checkpoints").exists()


def test_one_save_at_a_time(tmp_path, monkeypatch):
    """A thread that ends the run waits for the save of the main thread, and does not repeat it."""
    written, go = threading.Event(), threading.Event()
    results: list[str | None] = []
    threads: list[threading.Thread] = []

    def change(loop: TrainingLoop, after: int) -> None:
        in_step(loop, after)
        write = loop.rescue._write

        def slow(*arguments: Any) -> None:
            written.set()
            assert go.wait(120)
            write(*arguments)

        monkeypatch.setattr(loop.rescue, "_write", slow)

        def end() -> None:
            assert written.wait(120)
            threading.Timer(0.3, go.set).start()
            results.append(loop.rescue.save())

        threads.append(threading.Thread(target=end))
        threads[0].start()

    loop = failed(tmp_path, STEADY, change, 7)
    threads[0].join(120)
    assert results == [None]
    assert (loop.checkpoints.folder / step_file(7)).exists()


def test_before_the_first_step_there_is_nothing_to_save(tmp_path):
    loop = failed(tmp_path, STEADY, in_data, 0)
    assert loop.rescue.save() is None
