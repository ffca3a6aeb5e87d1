# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.config_plain import to_plain
from clip_align.data import shared_memory, worker_count
from clip_align.data.worker_count import resolved_workers, sensible_workers
from clip_align.settings.load_config import load


@pytest.mark.parametrize(
    ("cores", "local_ranks", "gpu", "workers"),
    [(16, 1, True, 15), (64, 8, True, 7), (8, 8, True, 0), (4, 8, True, 0), (256, 1, True, 16), (64, 1, False, 0)],
)
def test_cores_are_shared_between_the_ranks_of_a_machine(cores: int, local_ranks: int, gpu: bool, workers: int) -> None:
    assert sensible_workers(cores, local_ranks, gpu) == workers
    assert (workers + 1) * local_ranks <= max(cores, local_ranks)


@pytest.mark.parametrize(
    ("configured", "local_ranks", "gpu", "expected"),
    [
        (None, 1, True, (15, "data.workers: 15 for each rank (16 cores for 1 rank)")),
        (None, 8, True, (1, "data.workers: 1 for each rank (16 cores for 8 ranks)")),
        (None, 2, False, (0, "data.workers: 0 for each rank (on the CPU, training itself uses all cores)")),
        (3, 8, True, (3, None)),
        (0, 1, True, (0, None)),
    ],
)
def test_a_number_that_was_configured_stays(
    configured: int | None,
    local_ranks: int,
    gpu: bool,
    expected: tuple[int, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_count, "usable_cores", lambda: 16)
    assert resolved_workers(configured, local_ranks, gpu, 2**10) == expected


@pytest.mark.parametrize(("free", "workers"), [(64, 15), (31, 14), (6, 2), (3, 0), (None, 15)])
def test_no_more_are_taken_than_shared_memory_holds(
    free: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 batches under way for each worker, and 2 in training: 32 MiB for 15 workers."""
    monkeypatch.setattr(worker_count, "usable_cores", lambda: 16)
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: None if free is None else free * 2**20)
    found, line = resolved_workers(None, 1, True, 2**20)
    assert found == workers
    more = "" if workers == 15 else "; shared memory (/dev/shm) holds the batches of no more, 15 would be faster"
    assert line == f"data.workers: {workers} for each rank (16 cores for 1 rank{more})"
    assert shared_memory.shared_memory_problem(2**20, found, 1) is None
    assert resolved_workers(15, 1, True, 2**20) == (15, None)  # refused later, where it was typed


@pytest.mark.parametrize(
    ("overrides", "workers"),
    [
        ([], 0),
        (["data=webdataset", "data.shards=/a.tar"], None),
        (["data=folder", "data.csv=/a.csv"], None),
        (["data=folder", "data.csv=/a.csv", "data.workers=3"], 3),
        (["data.workers=null"], None),
    ],
)
def test_real_data_leave_it_open_and_the_world_does_not(overrides: list[str], workers: int | None) -> None:
    config = load([*overrides, "checkpoint.best=null"])
    assert config.data.workers == workers
    assert to_plain(config)["data"]["workers"] == workers  # what is stored
