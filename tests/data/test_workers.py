# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_align.data import workers
from clip_align.data.loader import Batches
from clip_align.processes.stop_signals import STOP_SIGNALS
from tests.data.stream import Make, same, take


def test_workers_change_nothing_not_even_the_generators(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    keys = {"flip": True, "crop_scale": (0.5, 1.0)}
    expected = take(make(shards.folder, **keys), 7)
    before = torch.get_rng_state()
    assert same(take(make(shards.folder, workers=2, **keys), 7), expected)
    assert torch.equal(before, torch.get_rng_state())


def test_the_pipeline_is_picklable(shards: Any, make: Make) -> None:
    """That is what spawned workers ask of it."""
    shards.good(6, 7)
    data = make(shards.folder)
    loader = data.loader()
    copy = pickle.loads(pickle.dumps(loader.dataset))
    task = next(iter(loader.sampler))
    assert same([copy[task]], [loader.dataset[task]])  # type: ignore[list-item]


@pytest.mark.slow
def test_workers_that_are_really_spawned(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    from clip_align.models.words import WordTokenizer

    data = make(shards.folder, workers=2)
    data.tokenizer = WordTokenizer.from_captions(data.captions(), 100, 6)
    expected = make(shards.folder)
    expected.tokenizer = data.tokenizer
    assert same(take(data, 7, start_method="spawn"), take(expected, 7))


def test_batches_still_come_after_a_signal_to_the_workers(shards: Any, make: Make) -> None:
    """A signal to the process group reaches workers; the run must be able to end in order."""
    shards.good(6, 7)
    loader = make(shards.folder, workers=2).loader()
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    next(iterator)
    processes = set(multiprocessing.active_children()) - others
    assert len(processes) == 2
    for number in (signal.SIGINT, signal.SIGTERM):
        for worker in processes:
            os.kill(worker.pid, number)
    assert len(list(islice(iterator, 12))) == 12
    iterator.close()
    assert [worker.exitcode for worker in processes] == [0, 0]


def test_batches_still_come_after_a_signal_to_workers_that_are_just_starting(shards: Any, make: Make) -> None:
    shards.good(6, 7)
    loader = make(shards.folder, workers=2).loader()
    prepare = loader.worker_init_fn

    def signalled_first(worker: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        prepare(worker)

    loader.worker_init_fn = signalled_first
    assert len(list(islice(loader, 12))) == 12
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker that ends by itself is killed because the machine is slow."""
    monkeypatch.setattr(workers, "END_S", 60.0)


def started(shards: Any, make: Make) -> tuple[Any, Any, list[Any]]:
    """A loader, its iterator after a batch, and its worker processes."""
    shards.good(6, 7)
    loader = make(shards.folder, workers=2).loader()
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    next(iterator)
    return loader, iterator, [p for p in multiprocessing.active_children() if p not in others]


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda n: n.name)
def test_workers_leave_every_stop_signal_to_the_process_that_trains(shards: Any, make: Make, number: int) -> None:
    loader, iterator, processes = started(shards, make)
    for worker in processes:
        os.kill(worker.pid, number)
    assert len(list(islice(iterator, 12))) == 12
    iterator.close()
    assert loader.workers.end()
    assert [worker.exitcode for worker in processes] == [0, 0]


def test_once_no_more_batches_are_needed_one_sigterm_ends_a_worker(shards: Any, make: Make) -> None:
    """multiprocessing's exit handler sends one, and then waits without a limit."""
    loader, iterator, processes = started(shards, make)
    loader.workers.release()
    for worker in processes:
        worker.terminate()
    for worker in processes:
        worker.join(120)
    assert [worker.exitcode for worker in processes] == [0, 0]
    del iterator


def test_workers_that_are_stopped_are_ended_all_the_same(
    shards: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "END_S", 3.0)
    loader, iterator, processes = started(shards, make)
    os.kill(processes[0].pid, signal.SIGSTOP)
    assert loader.workers.end()
    assert [worker.exitcode for worker in processes] == [-signal.SIGKILL, 0]
    del iterator


def test_workers_end_soon_after_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = """
import multiprocessing, os, signal, torch
from clip_align.data.workers import Workers
workers = Workers()
with workers.starting():
    child = multiprocessing.Process(target=lambda: (workers.begin(0), signal.pause()), daemon=True)
    child.start()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)
    pid, limit = int(done.stdout), time.monotonic() + 120
    while alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_batches_of_workers_lie_in_shared_memory_before_they_are_sent(shards: Any, make: Make) -> None:
    """Where it is full, moving them raises in the worker and the error comes here; torch's sender only prints it."""
    shards.good(6, 7)
    loader = make(shards.folder, workers=1).loader()
    dataset = loader.dataset
    batch = Batches.__getitem__

    def checked(self: Batches, task: Any) -> Any:
        made = batch(self, task)
        assert made["image"].is_shared()
        assert made["text"].is_shared()
        return made

    dataset.__class__ = type("Checked", (Batches,), {"__getitem__": checked})
    assert len(list(islice(loader, 3))) == 3
    here = Batches.__getitem__(dataset, next(iter(loader.sampler)))
    assert not here["image"].is_shared()
