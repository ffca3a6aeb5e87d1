# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.data.worker_count import sensible_workers


@pytest.mark.parametrize(
    ("cores", "local_ranks", "gpu", "workers"),
    [(16, 1, True, 15), (64, 8, True, 7), (8, 8, True, 0), (4, 8, True, 0), (256, 1, True, 16), (64, 1, False, 0)],
)
def test_cores_are_shared_between_the_ranks_of_a_machine(cores: int, local_ranks: int, gpu: bool, workers: int) -> None:
    assert sensible_workers(cores, local_ranks, gpu) == workers
    assert (workers + 1) * local_ranks <= max(cores, local_ranks)
