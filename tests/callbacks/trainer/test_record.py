# SPDX-License-Identifier: Apache-2.0
"""The record of a Trainer that is not clip-align's own: where it is, what it contains, what a resumed training adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import stubs
import torch
from small_training import BATCH, SAMPLES, Module, curve, fit, kept_at, steps
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.trainer.best_checkpoint import BestCheckpoint
from clip_align.callbacks.trainer.record import TrainerRecord
from clip_align.errors import UserError
from clip_align.evaluation.schedule import Schedule
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, read


def test_in_a_foreign_trainer_scores_reach_metrics_and_a_record_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    module = Module()
    trainer, _, _ = fit(
        tmp_path,
        [stubs.Pairs(every_n_steps=5), stubs.Named(every_n_steps=5, tokenizer=stubs.Words())],
        module,
        max_steps=6,
    )
    lines = [json.loads(line) for line in (tmp_path / "clip-align" / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["global_step"] for line in evaluations] == [0, 1, 2, 3, 4, 5, 6]
    assert [line["samples_seen"] for line in evaluations] == [n * BATCH for n in range(7)]
    shown = trainer.callback_metrics
    assert shown["human/pairs/srocc"].item() == pytest.approx(evaluations[-1]["human/pairs/srocc"])
    warning = next(line["message"] for line in lines if line.get("event") == "warning")
    assert warning == "the model does not define how its images are normalized: OpenAI's mean and std are used"
    assert capsys.readouterr().err.count(warning) == 1
    assert (tmp_path / "clip-align" / "items" / "human" / "pairs" / "items.csv").is_file()
    assert lines[0]["event"] == "started"
    assert lines[-1]["event"] == "finished"


def test_a_resumed_foreign_training_goes_on_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    kept = [stubs.Pairs(every_n_steps=2), kept_at(tmp_path, 4)]
    fit(tmp_path, kept, max_steps=6, enable_checkpointing=True)
    fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=9, ckpt_path=tmp_path / "at-4.ckpt")
    assert curve(tmp_path / "clip-align") == [(s, s * BATCH) for s in (0, 1, 2, 3, 4, 6, 8, 9)]
    history = read(tmp_path / "clip-align")
    assert [e["event"] for e in history.events if e["event"] != "warning"][:3] == ["started", "finished", "resumed"]
    assert next(e["global_step"] for e in history.events if e["event"] == "resumed") == 4
    seconds = [line["wall_seconds"] for line in history.evaluations]
    assert seconds == sorted(seconds)
    assert not (tmp_path / "clip-align-2").exists()


def test_a_training_that_branches_off_elsewhere_leaves_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    kept = [stubs.Pairs(every_n_steps=2), kept_at(tmp_path, 4)]
    fit(tmp_path / "one", kept, max_steps=6, enable_checkpointing=True)
    before = (tmp_path / "one" / "clip-align" / "metrics.jsonl").read_bytes()
    fit(tmp_path / "two", [stubs.Pairs(every_n_steps=2)], max_steps=7, ckpt_path=tmp_path / "at-4.ckpt")
    assert (tmp_path / "one" / "clip-align" / "metrics.jsonl").read_bytes() == before
    assert curve(tmp_path / "two" / "clip-align") == [(6, 6 * BATCH), (7, 7 * BATCH)]


def test_one_trainer_that_fits_twice_goes_on_in_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=8)
    others = (tmp_path / "clip-align" / "metrics.jsonl").read_bytes()
    trainer, module, _ = fit(tmp_path, [stubs.Pairs(every_n_steps=2)], max_steps=4)
    trainer.fit_loop.epoch_loop.max_steps = 6
    images = torch.randn(SAMPLES, 3, stubs.SIZE, stubs.SIZE)
    trainer.fit(module, DataLoader(TensorDataset(images), BATCH))
    assert (tmp_path / "clip-align" / "metrics.jsonl").read_bytes() == others
    assert curve(tmp_path / "clip-align-2") == [(s, s * BATCH) for s in (0, 1, 2, 3, 4, 6)]


def test_a_last_event_that_was_cut_off_is_made_up_for_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning finds nothing left to train and calls no hook of training."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cut_off = stubs.Pairs(every_n_steps=2)
    options: dict[str, Any] = {"schedule": Schedule(early_steps=()), "interrupted": lambda: cut_off.last_step == 2}
    fit(tmp_path, [cut_off, kept_at(tmp_path, 4)], settings=options, max_steps=4, enable_checkpointing=True)
    for _ in range(2):
        callback = stubs.Pairs(every_n_steps=2)
        keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="again")
        settings: dict[str, Any] = {"schedule": Schedule(early_steps=())}
        trainer, _, record = fit(
            tmp_path, [callback, keep], settings=settings, max_steps=4, ckpt_path=tmp_path / "at-4.ckpt",
            enable_checkpointing=True,
        )  # fmt: skip
        assert steps(record) == [4]
        assert callback.last_step == 4
    trainer.save_checkpoint(tmp_path / "done.ckpt")
    _, _, record = fit(
        tmp_path, [stubs.Pairs(every_n_steps=2)], settings=settings, max_steps=4, ckpt_path=tmp_path / "done.ckpt"
    )
    assert steps(record) == []


def test_a_callback_in_a_second_trainer_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    callback = stubs.Pairs(every_n_steps=2)
    for name in ("one", "two"):
        fit(tmp_path / name, [callback], max_steps=2)
        assert curve(tmp_path / name / "clip-align") == [(0, 0), (1, BATCH), (2, 2 * BATCH)]


def test_what_a_checkpoint_carries_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the best checkpoint the event that made it is done, and one saved after training knows all samples."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    best = BestCheckpoint("human/pairs/srocc", tmp_path / "kept", lower_is_better=True)
    trainer, _, _ = fit(tmp_path, [stubs.Pairs(every_n_steps=1), best], max_steps=4)
    kept = torch.load(best.path, weights_only=True)
    assert kept["callbacks"]["clip_align/human/pairs"]["last_step"] == kept["global_step"]
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    after = torch.load(tmp_path / "after.ckpt", weights_only=True)["callbacks"]["clip_align/human/pairs"]
    assert (after["last_step"], after["samples_seen"]) == (4, 4 * BATCH)


def test_a_log_folder_that_cannot_be_written_is_one_line_before_step_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"callbacks: no record can be written to .*file/clip-align \(Not a directory\)"
    ):
        fit(tmp_path / "file", [stubs.Pairs()], max_steps=2)


@pytest.mark.parametrize(("max_steps", "few"), [(24, False), (6, True)])
def test_a_foreign_record_gets_its_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_steps: int, few: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fit(tmp_path, [stubs.Pairs(every_n_steps=1)], max_steps=max_steps)
    (verdict,) = read(tmp_path / "clip-align").verdicts
    assert verdict["score"] == "human/pairs/srocc"
    assert verdict["global_step"] == max_steps
    assert (verdict["word"] is None) == few
    assert ("needs at least 12" in str(verdict.get("reason"))) == few, verdict


def test_a_foreign_training_that_broke_gets_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with pytest.raises(ValueError, match="training broke"):
        fit(tmp_path, [stubs.Pairs(every_n_steps=1)], Module(breaks_at=3), max_steps=9)
    history = read(tmp_path / "clip-align")
    assert history.verdicts == []
    assert history.events[-1]["message"] == "training ended: failed"


def test_a_second_run_in_the_same_folder_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for _ in range(2):
        fit(tmp_path, [stubs.Pairs()], max_steps=1)
    assert (tmp_path / "clip-align-2" / "metrics.jsonl").is_file()


def test_a_record_that_is_not_open_refuses_lines_and_closes_silently(tmp_path: Path) -> None:
    trainer = pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_checkpointing=False)
    record = TrainerRecord(trainer, Ranks())
    with pytest.raises(RuntimeError, match="training has not begun"):
        record.append("event", Position(0, 0, 0, 0.0), {})
    record.log("nothing to write to")
    record.close("done", Position(0, 0, 0, 0.0))
    assert list(tmp_path.iterdir()) == []
