# SPDX-License-Identifier: Apache-2.0
"""Tasks of one rank from shards that are fetched while the run is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from clip_align.data.bad_samples import BadSampleCounter, Causes
from clip_align.data.sampling_plan import Task, parts_of
from clip_align.data.streaming.plan import Place, ShardContent, StreamedBatch, StreamingPlan, streamed_batches
from clip_align.data.streaming.shard_fetcher import FetchedShard
from clip_align.data.streaming.shard_supply import ShardSupply

_NONE = np.empty(0, np.int64)

Learnt = Callable[[FetchedShard], None]
EpochEnded = Callable[[StreamedBatch, Causes, Causes], None]


class StreamedTasks:
    """Endless tasks from a position on; each iterator starts there.

    The shards of the present window and of the next one are held, and those of earlier windows as long as batches of
    them may still be in the making.

    Args:
        plan: of the order.
        rank: this one.
        start: position of the first sample.
        supply: fetches the shards.
        in_making: tasks that are made or waited for at the same time.
        counter: learns of the samples that shards' indexes leave out, as bad ones or on purpose.
        learnt: receives each shard when its window begins.
        ended: receives the end of each epoch, with the samples left out in it since the start, bad ones and on purpose.
        parts: each batch of the plan comes in so many tasks, of equal size.
    """

    def __init__(
        self,
        plan: StreamingPlan,
        rank: int,
        start: Place,
        supply: ShardSupply,
        in_making: int,
        counter: BadSampleCounter,
        learnt: Learnt,
        ended: EpochEnded,
        parts: int = 1,
    ) -> None:
        self.plan, self.rank, self.start, self.supply, self.in_making = plan, rank, start, supply, in_making
        self._counter, self._learnt, self._ended, self._parts = counter, learnt, ended, parts
        self._held: dict[tuple[int, int], list[int]] = {}  # shards by window

    def begin(self) -> None:
        """Ask for the first windows and wait for the first one. RunError where one of its shards cannot be used."""
        self.supply.wait(self._ask(self._window(self.start.epoch, self.start.window)))

    def interrupt_when(self, stopping: Callable[[], bool]) -> None:
        """Raise RunError in place of waiting for shards once ``stopping()``."""
        self.supply.interrupted = stopping

    def __iter__(self) -> Iterator[Task]:
        left_out, filtered = Causes(), Causes()

        def contents(epoch: int, window: int) -> list[ShardContent]:
            fetched = self.supply.wait(self._ask(self._window(epoch, window)))
            for shard in fetched:
                self._learnt(shard)
                self._counter.leave_out(shard.left_out, shard.samples)
                self._counter.filter(shard.filtered, shard.samples)
                left_out.merge(shard.left_out)
                filtered.merge(shard.filtered)
            return [ShardContent(shard.samples, shard.held_out) for shard in fetched]

        recent: deque[tuple[int, ...]] = deque()
        before = self.start
        for batch in streamed_batches(self.plan, self.start, contents):
            if not batch.numbers.size:
                self._ended(batch, left_out, filtered)
                left_out, filtered, before = Causes(), Causes(), batch.after
                continue
            whole = Task(batch.epoch, batch.after, batch.numbers[self.rank], _NONE, batch.others[self.rank])
            for task in parts_of(whole, self._parts, before):
                yield task
                recent.append(task.after)  # of a part, where its batch begins: other parts are still to be read
                if len(recent) > self.in_making:
                    self._release(Place(*recent.popleft()))
            before = batch.after

    def _window(self, epoch: int, window: int) -> tuple[int, int]:
        return (0 if self.plan.epoch_samples else epoch), window

    def _ask(self, window: tuple[int, int]) -> list[int]:
        """Hold a window and the next one; returns the window's shards."""
        following = self._window(*self.plan.following(*window))
        for one in (window, following):
            if one not in self._held:
                self._held[one] = self.plan.shards(*one).tolist()
                self.supply.hold(self._held[one])
        return self._held[window]

    def _release(self, place: Place) -> None:
        """Windows before the one that a batch ended in are not needed any more, once that batch is made."""
        present = self._window(place.epoch, place.window)
        for window in [window for window in self._held if window < present]:
            self.supply.release(self._held.pop(window))
