# SPDX-License-Identifier: Apache-2.0
"""The loop on made-up batches: what it records, what it saves, how it continues, and how it stops."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from train_synthetic import CONFIG, train, train_losses

from clip_align.config import CheckpointConfig, OptimizerConfig, TrainerConfig
from clip_align.errors import RunError, UserError
from clip_align.training import train_log
from clip_align.training.checkpoint_files import OWN, load, newest
from clip_align.training.launch_ranks import environment_of, free_port
from clip_align.training.signals import Signals
from clip_align.training.training_loop import TrainingLoop

STEADY = replace(CONFIG, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2, schedule="constant"))
EACH = replace(STEADY, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1))


def lines(folder: Any, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def weights(folder: Any, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(folder / "checkpoints" / name)["state_dict"]
    return state


def seen(loop: TrainingLoop) -> list[str]:
    """Let a loop note the first key of every batch it trains on."""
    step, keys = loop.module.training_step, []

    def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        keys.append(batch["keys"][0])
        return step(batch, batch_idx)

    loop.module.training_step = training_step
    return keys


def test_lines_of_the_record(tmp_path):
    train(tmp_path, 12)
    train_lines = lines(tmp_path, "train")
    assert [line["global_step"] for line in train_lines] == [5, 10, 12]
    assert [line["samples_seen"] for line in train_lines] == [40, 80, 96]
    assert [line["epoch"] for line in train_lines] == [0, 1, 1]
    for line in train_lines:
        names = {name for name in line if "/" in name}
        assert names == {
            "train/loss", "train/logit_scale", "train/lr", "train/grad_norm",
            "time/samples_per_second", "time/data_wait_fraction", "time/left_seconds",
        }  # fmt: skip
        assert all(math.isfinite(line[name]) for name in names)
        assert 0 <= line["time/data_wait_fraction"] <= 1
    assert train_lines[-1]["time/left_seconds"] == 0
    assert train_lines[0]["train/logit_scale"] == pytest.approx(1 / 0.07, rel=0.1)


def test_recorded_loss_is_the_mean_since_the_last_line(tmp_path):
    train(tmp_path / "each", 10, EACH)
    train(tmp_path / "fives", 10, STEADY)
    each = train_losses(tmp_path / "each")
    fives = train_losses(tmp_path / "fives")
    assert fives[5] == pytest.approx(np.mean([each[s] for s in range(1, 6)]), rel=1e-6)
    assert fives[10] == pytest.approx(np.mean([each[s] for s in range(6, 11)]), rel=1e-6)


def test_learning_rate_is_that_of_the_step(tmp_path):
    train(tmp_path, 3, EACH)
    assert [line["train/lr"] for line in lines(tmp_path, "train")] == pytest.approx([0.005, 0.01, 0.01])


def test_checkpoints_that_are_kept(tmp_path):
    train(tmp_path, 35)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step-000000030.ckpt", "step-000000035.ckpt"]
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 35


def test_content_of_a_checkpoint(tmp_path):
    train(tmp_path, 12)
    own = load(tmp_path / "checkpoints" / "last.ckpt")[OWN]
    assert own["global_step"] == 12
    assert own["samples_seen"] == 96
    assert own["cursor"] == [1, 2]  # of the last trained batch: the loader is further
    assert own["config"]["trainer"]["log_every_n_steps"] == 5
    assert own["words"] is None
    assert len(own["random_states"]) == own["ranks"] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, workers):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    keys: list[str] = []

    def watch(loop: TrainingLoop) -> None:
        keys.append("start")
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            keys.append(batch["keys"][0])
            return step(batch, batch_idx)

        loop.module.training_step = training_step

    train(whole, 23, EACH)
    train(parts, 14, EACH, workers, change=watch)
    train(parts, 23, EACH, workers, change=watch)
    assert [k for k in keys if k != "start"] == [f"s{n}-0" for n in range(23)]
    assert train_losses(parts) == train_losses(whole)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name
    assert lines(parts, "train")[-1]["wall_seconds"] > lines(parts, "train")[13]["wall_seconds"]


def test_another_length_takes_the_schedule_of_that_length(tmp_path):
    cosine = replace(EACH, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2))
    train(tmp_path, 10, cosine)
    train(tmp_path, 20, cosine)
    rates = [line["train/lr"] for line in lines(tmp_path, "train")]
    assert rates[9] < 1e-3
    assert rates[10] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 8 / 18)))


def test_accumulated_batches_are_one_step(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate=3))
    loop = train(tmp_path, 10, config)
    own = load(tmp_path / "checkpoints" / "last.ckpt")[OWN]
    assert own["cursor"] == [3, 0]  # 30 batches of 10 per epoch
    assert own["samples_seen"] == 240
    assert [line["global_step"] for line in lines(tmp_path, "train")] == list(range(1, 11))
    assert loop.run_position.step == 10


def test_accumulation_resumes(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate=3))
    train(tmp_path / "whole", 10, config)
    train(tmp_path / "parts", 4, config)
    train(tmp_path / "parts", 10, config)
    assert train_losses(tmp_path / "parts") == train_losses(tmp_path / "whole")


def test_nothing_is_saved_in_the_middle_of_a_step(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate=3))
    config = replace(config, checkpoint=CheckpointConfig(every_n_steps=4, keep_last=9))
    train(tmp_path, 8, config)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "last.ckpt", "step-000000004.ckpt", "step-000000008.ckpt",
    ]  # fmt: skip


def test_the_first_evaluation_is_no_training_time(tmp_path):
    class Slow(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            time.sleep(1.0)

    train(tmp_path, 1, EACH, evaluations=[Slow()])
    (line,) = lines(tmp_path, "train")
    assert line["time/samples_per_second"] > 8 / 0.9


@pytest.mark.parametrize(("wait", "reported"), [(0.05, 1), (0.0, 0)])
def test_waiting_for_data_is_reported_once_with_advice(tmp_path, monkeypatch, wait, reported):
    monkeypatch.setattr(train_log, "WAITING_AFTER_S", 1.0)
    monkeypatch.setattr(train_log, "WAITING_FRACTION", 0.3)  # a loaded machine reads these batches slowly, too

    class Slow:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __iter__(self) -> Any:
            for batch in self.loader:
                time.sleep(wait)
                yield batch

    class Steps(pl.Callback):
        def on_before_optimizer_step(self, *_: Any) -> None:
            time.sleep(0.05)

    change = lambda loop: setattr(loop.timed_loader, "loader", Slow(loop.timed_loader.loader))  # noqa: E731
    train(tmp_path, 40, EACH, change=change, evaluations=[Steps()])
    found = [line for line in lines(tmp_path, "event") if line["event"] == "waiting"]
    assert len(found) == reported
    for line in found:
        assert line["wall_seconds"] >= 1.0
        assert 0.1 < line["fraction"] <= 1
        assert line["message"].startswith(
            f"data: training has waited for data {line['fraction']:.0%} of the time so far; "
        )
        assert "try more data.workers (0 a rank now, " in line["message"]


def test_advice_to_who_has_a_worker_on_every_core():
    assert train_log.faster_data(3, 4) == "try more data.workers (3 a rank now, 4 cores here)"
    assert train_log.faster_data(4, 4).startswith("data.workers=4 is as many as there are cores: ")


def test_logit_scale_stays_in_its_bounds(tmp_path):
    wild = replace(EACH, optimizer=OptimizerConfig(lr=5.0, warmup_steps=0, clip_norm=None))
    loop = train(tmp_path, 8, wild)
    scales = [line["train/logit_scale"] for line in lines(tmp_path, "train")]
    assert max(scales) <= 100 * (1 + 1e-5)
    assert min(scales) >= 1 - 1e-5
    assert float(loop.module.model.logit_scale.detach()) in (0.0, pytest.approx(math.log(100)))


def test_nan_loss_stops_with_step_samples_and_last_good_checkpoint(tmp_path):
    def poison(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            loss = step(batch, batch_idx)
            bad = loop.module.step_under_way == 13
            if bad:
                loop.module.losses._waiting[-1] = (13, loss.detach() * math.nan, batch["keys"])
            return loss * (math.nan if bad else 1.0)

        loop.module.training_step = training_step

    with pytest.raises(
        RunError, match=r"train/loss is nan at step 13; samples: s12-0, s12-1, .* and 3 more; "
    ) as caught:
        train(tmp_path, 40, CONFIG, change=poison)
    bad = next(line for line in lines(tmp_path, "event") if line["event"] == "not_finite")
    assert (bad["step"], bad["keys"]) == (13, [f"s12-{n}" for n in range(8)])
    assert "last good checkpoint: " in str(caught.value)
    assert "step-000000010.ckpt" in str(caught.value)
    assert all(torch.isfinite(w).all() for w in weights(tmp_path).values())
    assert newest(tmp_path / "checkpoints")[0].name == "last.ckpt"


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if trainer.global_step == 20:
                pl_module.model.visual.weight.data[0, 0] = math.inf

    with pytest.raises(RunError, match="weights are not finite after step 20"):
        train(tmp_path, 30, evaluations=[Spoil()])
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 10


def test_a_signal_stops_at_the_border_of_a_step(tmp_path):
    signals = Signals()

    def stop(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            if loop.module.step_under_way == 7:
                signals.received = 15
            return step(batch, batch_idx)

        loop.module.training_step = training_step

    loop = train(tmp_path, 100, signals=signals, change=stop)
    assert loop.stop_check.stopping == 15
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 7


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
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate=accumulate))
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


@pytest.mark.parametrize("what", ["inside", "in the middle of an accumulated step"])
def test_nothing_is_saved_after_a_failure_inside_a_step(tmp_path, what):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate=3))
    data = (
        (lambda loop: setattr(loop.timed_loader, "loader", Ends(loop.timed_loader.loader, 14 * 3 + 2)))
        if what != "inside"
        else None
    )
    with pytest.raises((OSError, ValueError)):
        train(tmp_path, 19, config, change=data or (lambda loop: None), evaluations=[Raises(13, True)] * (not data))
    assert steps_kept(tmp_path) == ["step-000000010.ckpt"]


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
@pytest.mark.parametrize(("known_to", "states"), [("all", 2), ("one", 1)])
def test_a_failure_of_two_ranks_is_saved_exactly_once(tmp_path, known_to, states):
    """By both together, with the random states of both; by the first alone where only one of them may have failed."""
    script = Path(__file__).with_name("failing_rank.py")
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, script, tmp_path, known_to],
            env={**os.environ, **environment_of(rank, 2, port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        assert [rank.communicate(timeout=240)[0].strip() for rank in ranks] == ["it has failed"] * 2
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [1, 1]
    saved = [line["file"] for line in lines(tmp_path, "event") if line["event"] == "checkpoint"]
    assert saved == ["step-000000010.ckpt", "step-000000013.ckpt"]
    assert len(load(tmp_path / "checkpoints" / "last.ckpt")[OWN]["random_states"]) == states


def test_best_checkpoint_has_the_weights_that_were_scored(tmp_path):
    scored: dict[int, torch.Tensor] = {}

    class Score(pl.Callback):
        loop: TrainingLoop

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            step = trainer.global_step
            if step % 4 == 0:
                scored[step] = pl_module.model.visual.weight.detach().clone()
                value = {4: 0.5, 8: None, 12: 0.7, 16: 0.6}.get(step, 0.1)
                self.loop.checkpoints.evaluated(step, {"human/x/srocc": value})

    config = replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=100, best="human/x/srocc"))
    score = Score()
    train(tmp_path, 18, config, evaluations=[score], change=lambda loop: setattr(score, "loop", loop))
    best = load(tmp_path / "checkpoints" / "best-human-x-srocc.ckpt")
    assert best["global_step"] == 12
    assert best[OWN]["last_evaluated"] == 12
    assert best[OWN]["best"] == [0.7, 12]
    assert torch.equal(best["state_dict"]["model.visual.weight"], scored[12])


@pytest.mark.parametrize(("higher", "kept"), [(True, 4), (False, 12), (None, None)])
def test_the_best_checkpoint_goes_by_the_declared_direction(tmp_path, higher, kept):
    class Score(pl.Callback):
        loop: TrainingLoop

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            value = {4: 0.7, 8: None, 12: 0.2, 16: 0.5}.get(trainer.global_step)
            self.loop.checkpoints.evaluated(trainer.global_step, {"noise/x/drop_10": value})

    config = replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=100, best="noise/x/drop_10"))
    score = Score()

    def change(loop: TrainingLoop) -> None:
        loop.checkpoints.higher_is_better = higher
        score.loop = loop

    train(tmp_path, 18, config, evaluations=[score], change=change)
    found = tmp_path / "checkpoints" / "best-noise-x-drop_10.ckpt"
    assert (load(found)["global_step"] if found.exists() else None) == kept


def test_the_best_value_of_another_score_is_not_compared_with(tmp_path):
    loops: list[TrainingLoop] = []

    def change(loop: TrainingLoop) -> None:
        loops.append(loop)
        if len(loops) == 1:
            loop.checkpoints.best = (0.9, 4)

    for steps, best in ((10, "human/x/srocc"), (12, "human/x/srocc"), (14, "human/x/plcc")):
        train(
            tmp_path, steps, replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=100, best=best)), change=change
        )
    assert [loop.checkpoints.best for loop in loops] == [(0.9, 4), (0.9, 4), None]


def test_a_damaged_last_checkpoint_costs_itself_only(tmp_path):
    train(tmp_path, 20)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.unlink()
    last.write_bytes(b"PK\x03\x04 half of it")
    path, content, _ = newest(tmp_path / "checkpoints")
    assert path.name == "step-000000020.ckpt"
    assert content["global_step"] == 20


def test_checkpoints_that_are_all_damaged_are_no_reason_to_begin_anew(tmp_path):
    train(tmp_path, 20)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(UserError, match=r"resume: no checkpoint in .* is whole \(step-000000020.ckpt: .*\); bring"):
        newest(tmp_path / "checkpoints")
    assert newest(tmp_path / "elsewhere") is None


def test_a_full_disk_is_named_although_torch_hides_it(tmp_path, monkeypatch):
    def full(checkpoint: Any, file: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # noqa: B904

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"^checkpoint: .* cannot be written \(No space left on device\); free some"):
        train(tmp_path, 10)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_precision_bf16(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, precision="bf16-mixed"))
    train(tmp_path / "b", 5, config)
    train(tmp_path / "f", 5, EACH)
    there, ours = train_losses(tmp_path / "b"), train_losses(tmp_path / "f")
    assert there != ours
    assert all(there[s] == pytest.approx(ours[s], rel=0.05) for s in ours)
