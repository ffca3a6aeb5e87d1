# SPDX-License-Identifier: Apache-2.0
"""Which shards are held while tasks are made of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest

from clip_align.data.bad_samples import BadSampleCounter, Causes
from clip_align.data.streaming.plan import Place, StreamingPlan, in_shard
from clip_align.data.streaming.shard_fetcher import FetchedShard, FetchSettings
from clip_align.data.streaming.shard_supply import ShardSupply
from clip_align.data.streaming.tasks import StreamedTasks

SIZES = (6, 9, 4, 7, 5)


class Supply(ShardSupply):
    """Has every shard at once, without a process; ``held`` counts."""

    def __init__(self) -> None:
        super().__init__([str(n) for n in range(len(SIZES))], FetchSettings("", 1), lambda line: None)
        self.held = Counter[int]()

    def hold(self, shards: Sequence[int]) -> None:
        self.held.update(shards)

    def release(self, shards: Sequence[int]) -> None:
        self.held.subtract(shards)
        assert min(self.held.values()) >= 0

    def wait(self, shards: Sequence[int]) -> list[FetchedShard]:
        assert all(self.held[shard] for shard in shards)
        return [FetchedShard(shard, SIZES[shard]) for shard in shards]


@pytest.mark.parametrize("in_making", [0, 4])
@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("epoch_samples", [None, 20])
def test_shards_stay_until_all_parts_of_a_batch_are_made(
    in_making: int, parts: int, window: int, epoch_samples: int | None
) -> None:
    """Those of a task, of as many tasks before it as are in the making, and no more windows than these need."""
    supply = Supply()
    plan = StreamingPlan((0,) * len(SIZES), (1.0,), 3, window, 8, 1, epoch_samples)
    facts: Any = (BadSampleCounter(0.5, 0.0, Causes(), 100), lambda shard: None, lambda end, *left_out: None)
    tasks = StreamedTasks(plan, 0, Place(), supply, in_making, *facts, parts)
    recent: deque[set[int]] = deque(maxlen=in_making + 1)
    most = 0
    for task in islice(tasks, 40 * parts):
        recent.append({in_shard(number)[0] for number in task.samples.tolist()})
        assert all(supply.held[shard] for needed in recent for shard in needed)
        most = max(most, supply.held.total())
    if epoch_samples is None:  # else windows that repeat the shards of a batch bring it no nearer
        assert most <= (5 + in_making * 2) * window
