# SPDX-License-Identifier: Apache-2.0
"""The memory that batches are handed over in: how much they need, and what is reported where it is not there."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clip_align.data import shared_memory
from clip_align.data.loader import Batches
from clip_align.data.shared_memory import batch_bytes, batches_under_way, shared_memory_problem
from tests.data.stream import Make

MIB = 2**20


def test_a_batch_is_whole_pages_of_images_and_tokens() -> None:
    assert batch_bytes(256, 224, 77) == 256 * 3 * 224 * 224 + 39 * 4096  # 157,696 bytes of tokens
    assert batch_bytes(1, 1, 1) == 2 * 4096


def test_without_workers_nothing_is_handed_over() -> None:
    assert batches_under_way(0) == 0
    assert batches_under_way(8) == 18
    assert batches_under_way(8, accumulate=4) == 24  # two steps of four batches


def test_the_paper_experiments_need_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda folder=None: 64 * MIB)
    one = batch_bytes(512, 224, 77)
    assert str(shared_memory_problem(one, 8, 8)) == (
        "data.workers: 8 workers on 8 ranks need 10.4 GiB of shared memory (/dev/shm) for 144 batches of 73.8 MiB, and "
        "64.0 MiB are free; take data.workers=0 or a smaller data.batch_size, or give the container more "
        "(docker run --shm-size=13g, or --ipc=host)"
    )


@pytest.mark.parametrize(("free", "fits", "advised"), [(6, True, 0), (5, False, 1), (4, False, 1), (3, False, 0)])
def test_the_number_of_workers_that_fits_is_advised(
    free: int, fits: bool, advised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda folder=None: free * MIB)
    problem = shared_memory_problem(MIB, 2, 1)
    assert (problem is None) == fits
    if problem is not None:
        assert f"take data.workers={advised} or" in problem.text


def test_where_the_size_is_unknown_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_memory.free_shared_memory(tmp_path / "none") is None
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda folder=None: None)
    assert shared_memory_problem(10**12, 8, 8) is None


def test_as_many_batches_are_under_way_as_are_counted(shards: Any, make: Make) -> None:
    """Made by the workers while training holds one batch and Lightning the next."""
    shards.good(6, 7)
    loader = make(shards.folder, workers=2).loader()
    made, getitem = multiprocessing.Value("i", 0), Batches.__getitem__

    def counted(self: Batches, task: Any) -> Any:
        with made.get_lock():
            made.value += 1
        return getitem(self, task)

    loader.dataset.__class__ = type("Counted", (Batches,), {"__getitem__": counted})
    iterator = iter(loader)
    held = [next(iterator), next(iterator)]
    limit = time.monotonic() + 120
    while made.value < batches_under_way(2) and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.5)
    assert made.value == batches_under_way(2)
    assert len(held) == shared_memory.IN_TRAINING
    iterator.close()


def test_the_machines_shared_memory_is_read_where_it_can_be_made_small() -> None:
    script = "from clip_align.data.shared_memory import free_shared_memory; print(free_shared_memory())"
    command = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {sys.executable} -c '{script}'"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode and re.search("permitted|denied|not found|superuser", done.stderr):
        pytest.skip(f"a file system cannot be mounted here ({done.stderr.strip()})")
    assert int(done.stdout) == MIB
