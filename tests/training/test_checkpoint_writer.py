# SPDX-License-Identifier: Apache-2.0
"""Writing checkpoints while training continues: the same bytes, in order, and no error lost."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from train_synthetic import CONFIG, stop_at, train, train_losses

from clip_align.config import CheckpointConfig, TrainerConfig
from clip_align.errors import RunError
from clip_align.record.record import read
from clip_align.training import checkpoint_callback as checkpoints
from clip_align.training.checkpoint_files import load, step_files
from clip_align.training.checkpoint_writer import AT_ONCE, CheckpointWriter, Order, tensor_bytes
from clip_align.training.training_loop import TrainingLoop

WAIT_S = 120.0  # for what another thread is about to do; only a failing test waits as long


def content(value: float = 0.0) -> dict[str, Any]:
    weights = torch.full((64, 8), value)
    return {"a": weights, "part": weights[3:5], "columns": weights.t(), "list": [1, "x", (2.5, None)], "b": weights[0]}


def writer(**options: Any) -> CheckpointWriter:
    return CheckpointWriter(**{"at_once": 1, "free": lambda: 1e12, **options})


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Files of a background writer come to the disk when it opens."""
    opened, sync = threading.Event(), os.fsync

    def fsync(file: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert opened.wait(WAIT_S)
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return opened


def opened_by_a_wait(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate opens once somebody waits for a thread: a file is there afterwards only if it was waited for."""
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        gate.set()
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", joined)


def test_the_bytes_are_those_of_a_direct_write(tmp_path: Path) -> None:
    direct, behind = CheckpointWriter(), writer()
    direct.save_checkpoint(content(), tmp_path / "direct", Order(now=True))
    behind.save_checkpoint(content(), tmp_path / "behind", Order(now=False))
    assert [file.name for file in behind.written(wait=True)] == ["behind"]
    assert (tmp_path / "direct").read_bytes() == (tmp_path / "behind").read_bytes()


def test_a_file_holds_what_was_when_it_was_saved(tmp_path: Path, gate: threading.Event) -> None:
    behind, state = writer(), content(1.0)
    behind.save_checkpoint(state, tmp_path / "x", Order(now=False))
    state["a"].fill_(2.0)  # training continues
    assert not (tmp_path / "x").exists()
    assert behind.written() == []
    gate.set()
    behind.written(wait=True)
    assert torch.equal(load(tmp_path / "x")["a"], torch.full((64, 8), 1.0))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_one_snapshot_at_a_time_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save waits for the file before it, and training continues before its own is there.

    Each file comes to the disk only once somebody waits for a thread, so that no order depends on time.
    """
    waited_for, found = threading.Semaphore(0), list[str]()
    save, sync, join = torch.save, os.fsync, threading.Thread.join

    def snapshot(content: Any, file: Any) -> None:
        found.append("snapshot")
        save(content, file)

    def fsync(file: int) -> None:
        assert waited_for.acquire(timeout=WAIT_S)
        sync(file)

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        waited_for.release()
        join(thread, timeout)

    for place, name, function in ((torch, "save", snapshot), (os, "fsync", fsync), (threading.Thread, "join", joined)):
        monkeypatch.setattr(place, name, function)
    behind = writer()
    for number in range(3):
        order = Order(now=False, then=partial(found.append, f"file {number}"))
        behind.save_checkpoint(content(), tmp_path / str(number), order)
        found.append("training")
    assert [file.name for file in behind.written(wait=True)] == ["0", "1", "2"]
    assert found == [step for n in range(3) for step in ("snapshot", "training", f"file {n}")]


def test_a_save_that_must_be_there_waits_for_the_one_before_it(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_by_a_wait(gate, monkeypatch)
    behind = writer()
    behind.save_checkpoint(content(), tmp_path / "before", Order(now=False))
    behind.save_checkpoint(content(), tmp_path / "last", Order(now=True))
    assert {p.name for p in tmp_path.iterdir()} == {"before", "last"}


@pytest.mark.parametrize(
    "options", [{"background": False}, {"free": lambda: 100.0}, {"at_once": AT_ONCE}], ids=["off", "no room", "small"]
)
def test_what_is_written_directly(tmp_path: Path, gate: threading.Event, options: dict[str, Any]) -> None:
    direct = writer(**options)
    direct.save_checkpoint(content(), tmp_path / "x", Order(now=False))
    assert (tmp_path / "x").exists()  # although the gate is shut


def test_memory_that_cannot_be_had_after_all_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def full(content: Any, file: Any) -> None:
        if isinstance(file, io.BytesIO):
            raise MemoryError
        save(content, file)

    monkeypatch.setattr(torch, "save", full)
    behind = writer()
    behind.save_checkpoint(content(), tmp_path / "x", Order(now=False))
    assert [file.name for file in behind.written()] == ["x"]
    assert load(tmp_path / "x")["list"] == [1, "x", (2.5, None)]


def test_a_file_that_cannot_be_written_is_reported_once_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    behind = writer()
    monkeypatch.setattr(os, "fsync", full)
    behind.save_checkpoint(content(), tmp_path / "x", Order(now=False))
    assert behind.written(wait=True) == []
    line = f"checkpoint: {tmp_path}/x cannot be written (No space left on device); free some space"
    assert [str(error) for error in behind.failed()] == [line]
    assert list(tmp_path.iterdir()) == []
    assert (behind.written(wait=True), behind.failed()) == ([], [])


def test_size_of_what_is_saved() -> None:
    assert tensor_bytes({"a": torch.zeros(3), "b": [(torch.zeros(2, dtype=torch.float64),)], "c": 1}) == 28


# In the loop ------------------------------------------------------------------------------------------------------

EACH = replace(
    CONFIG,
    trainer=TrainerConfig(kind="cpu", log_every_n_steps=1),
    checkpoint=CheckpointConfig(every_n_steps=5, best=None),
)


def behind(loop: TrainingLoop) -> None:
    """All of a loop's files are written by the thread, small as they are."""
    loop.checkpoints.writer = writer()


def test_a_run_with_files_written_behind_it_is_the_same_run(tmp_path: Path) -> None:
    for name, change in (("direct", lambda loop: None), ("behind", behind)):
        train(tmp_path / name, 12, EACH, change=change)
        train(tmp_path / name, 23, EACH, change=change)
    assert train_losses(tmp_path / "direct") == train_losses(tmp_path / "behind")
    names = [sorted(p.name for p in (tmp_path / n / "checkpoints").iterdir()) for n in ("direct", "behind")]
    assert names[0] == names[1] == ["last.ckpt", "step-000000020.ckpt", "step-000000023.ckpt"]
    first, second = (load(tmp_path / n / "checkpoints" / "last.ckpt") for n in ("direct", "behind"))
    assert all(torch.equal(first["state_dict"][key], second["state_dict"][key]) for key in first["state_dict"])
    assert str(first["optimizer_states"]) == str(second["optimizer_states"])


def test_training_continues_while_a_file_is_written(tmp_path: Path, gate: threading.Event) -> None:
    """The file of step 5 comes to the disk after step 8, and the record has it then."""

    class Open(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 8:
                assert not step_files(tmp_path / "checkpoints")
                gate.set()

    train(tmp_path, 9, EACH, change=behind, evaluations=[Open()])
    assert [p.name for p in step_files(tmp_path / "checkpoints")] == ["step-000000005.ckpt", "step-000000009.ckpt"]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.index('"file": "step-000000005.ckpt"') < text.index('"file": "step-000000009.ckpt"')


@pytest.mark.parametrize("change", [lambda loop: None, behind], ids=["direct", "behind"])
def test_a_disk_that_is_full_for_a_while_costs_checkpoints_and_one_warning(
    change: Callable[[TrainingLoop], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of steps 10 and 15 fail: the one of step 5 stays, and training is what it would have been."""

    class Disk(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if thread := loops[0].checkpoints.writer._thread:
                thread.join()
            seen[trainer.global_step] = [p.name for p in step_files(tmp_path / "full" / "checkpoints")]
            full = 8 <= trainer.global_step < 18
            monkeypatch.setattr(os, "fsync", refuse if full else fsync)

    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def begin(loop: TrainingLoop) -> None:
        change(loop)
        loops.append(loop)

    fsync, loops, seen = os.fsync, list[TrainingLoop](), dict[int, list[str]]()
    train(tmp_path / "full", 22, EACH, change=begin, evaluations=[Disk()])
    assert seen[17] == ["step-000000005.ckpt"]
    assert load(tmp_path / "full" / "checkpoints" / "last.ckpt")["global_step"] == 22
    assert [p.name for p in step_files(tmp_path / "full" / "checkpoints")] == [
        "step-000000020.ckpt", "step-000000022.ckpt"
    ]  # fmt: skip
    warnings = [e["message"] for e in read(tmp_path / "full").events if e["event"] == "warning"]
    assert warnings == [
        f"checkpoint: {tmp_path}/full/checkpoints/step-000000010.ckpt cannot be written (No space left on device); "
        "free some space; training continues, the last checkpoint is step-000000005.ckpt"
    ]
    train(tmp_path / "free", 22, EACH, change=change)
    assert train_losses(tmp_path / "full") == train_losses(tmp_path / "free")


def test_a_disk_that_is_full_at_the_end_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def begin(loop: TrainingLoop) -> None:
        monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(RunError, match=r"step-000000007.ckpt cannot be written \(No space left on device\); free some"):
        train(tmp_path, 7, EACH, change=begin)
    assert not step_files(tmp_path / "checkpoints")


def test_the_last_file_is_there_when_training_ends(tmp_path: Path) -> None:
    """Also where the last save is a best one, which is written behind."""
    loop = train(tmp_path, 100, EACH, change=lambda loop: (behind(loop), stop_at(7)(loop)))
    assert loop.checkpoints.writer._thread is None
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 7


def test_a_file_that_is_being_written_is_waited_for_when_a_run_fails(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fail(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 6:
                opened_by_a_wait(gate, monkeypatch)
                raise ValueError("inside a step")

    with pytest.raises(ValueError, match="inside a step"):
        train(tmp_path, 50, EACH, change=behind, evaluations=[Fail()])
    assert [p.name for p in step_files(tmp_path / "checkpoints")] == ["step-000000005.ckpt", "step-000000006.ckpt"]
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.index('"file": "step-000000005.ckpt"') < text.index('"file": "step-000000006.ckpt"')
    assert checkpoints.OWN in load(tmp_path / "checkpoints" / "last.ckpt")
