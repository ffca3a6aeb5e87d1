# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of the loop on made-up batches: which are kept, what they hold, and damaged ones."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from train_synthetic import CONFIG, EACH, stop_at, train, weights

from clip_align.config import CheckpointConfig, TrainerConfig
from clip_align.errors import RunError, UserError
from clip_align.series.own_checkpoints import kept
from clip_align.training.checkpoint_files import LAST, OWN, damage, load, newest, step_file, step_files, step_of
from clip_align.training.training_loop import TrainingLoop


def test_checkpoints_that_are_kept(tmp_path):
    train(tmp_path, 35)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step-000000030.ckpt", "step-000000035.ckpt"]
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 35


def test_checkpoints_for_later_study_stay_and_depend_on_the_step_alone(tmp_path):
    config = replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=10, keep_per_octave=2))
    train(tmp_path / "whole", 35, config)
    train(tmp_path / "parts", 35, config, change=stop_at(19))
    assert load(tmp_path / "parts" / "checkpoints" / "last.ckpt")["global_step"] == 19
    train(tmp_path / "parts", 35, config)
    for run in (tmp_path / "whole", tmp_path / "parts"):
        found = [step_of(path) for path in step_files(run / "checkpoints")]
        assert found == [1, 2, 3, 4, 6, 8, 11, 16, 23, 30, 32, 35]  # the last two beside those on the scale
        assert [path.name for path in kept(run / "checkpoints")] == [*map(step_file, found), LAST]
        assert not any(damage(path) for path in step_files(run / "checkpoints"))
    for path in step_files(tmp_path / "whole" / "checkpoints"):
        ours, theirs = weights(tmp_path / "whole", path.name), weights(tmp_path / "parts", path.name)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert load(path)["global_step"] == step_of(path)


def test_a_checkpoint_for_later_study_is_one_to_resume_from(tmp_path):
    train(tmp_path, 9, replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=100, keep_per_octave=1)))
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        if path.name != step_file(8):
            path.write_bytes(b"PK\x03\x04 half of it")
    path, _, given_up = newest(tmp_path / "checkpoints")
    assert (path.name, [file for file, _ in given_up]) == (step_file(8), [step_file(9)])


def test_content_of_a_checkpoint(tmp_path):
    train(tmp_path, 12)
    own = load(tmp_path / "checkpoints" / "last.ckpt")[OWN]
    assert own["global_step"] == 12
    assert own["samples_seen"] == 96
    assert own["cursor"] == [1, 2]  # of the last trained batch: the loader is further
    assert own["config"]["trainer"]["log_every_n_steps"] == 5
    assert own["words"] is None
    assert own["ranks"] == 1


def test_nothing_is_saved_in_the_middle_of_a_step(tmp_path):
    config = replace(EACH, trainer=TrainerConfig(kind="cpu", log_every_n_steps=1, accumulate_grad_batches=3))
    config = replace(config, checkpoint=CheckpointConfig(every_n_steps=4, keep_last=9))
    train(tmp_path, 8, config)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "last.ckpt", "step-000000004.ckpt", "step-000000008.ckpt",
    ]  # fmt: skip


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if trainer.global_step == 20:
                pl_module.model.visual.weight.data[0, 0] = math.inf

    with pytest.raises(RunError, match="weights are not finite after step 20"):
        train(tmp_path, 30, evaluations=[Spoil()])
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 10


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
