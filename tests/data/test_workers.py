# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from itertools import islice
from typing import Any

import pytest
import torch

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
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    for number in (signal.SIGINT, signal.SIGTERM):
        for worker in workers:
            os.kill(worker.pid, number)
    assert len(list(islice(iterator, 12))) == 12
    iterator.close()
    assert [worker.exitcode for worker in workers] == [0, 0]


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
