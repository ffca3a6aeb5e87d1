# SPDX-License-Identifier: Apache-2.0
"""The order of samples where shards are read one after the other: a function of seed, epoch and window only.

An epoch permutes the shards and divides them into windows; the samples of a window are shuffled. One window after the
other is cut into global batches, of which every rank takes its part, so that all ranks have equally many batches and
the order does not depend on their number. A window's number of samples matters only once its shards are there: nothing
here grows with the number of samples, but one window's order. What fills no global batch at the end of an epoch is left
over. A position in the data (`Place`) is a window and a number in its order, from which the stream continues without
those before it.

Resampled, each window holds shards drawn independently of the other windows', more often those of sources with a larger
weight; windows are numbered through all epochs, and an epoch is a number of samples. A batch never holds a sample
twice: where it reaches into a window that holds one of the shards that it began with, what is left of that is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clip_align.data.sampling_plan import next_part, permuted, uniforms
from clip_align.errors import Problem, RunError

_PERMUTE, _SHUFFLE, _TURNS, _DRAW = range(11, 15)  # purposes of random numbers, none of sampling_plan's
SHARD_BITS = 32  # a sample's number is its shard's times 2^32, plus its number in the shard
_IN_SHARD = 2**SHARD_BITS - 1
_FRUITLESS = 100  # resampled windows in a row that bring no batch nearer: their shards repeat
_LENDING = 2  # number of batches whose samples may replace bad ones of another


class Place(NamedTuple):
    """A position: the next sample is number ``position`` in the order of ``window``, all from 0.

    samples: of this epoch that were used before it.
    """

    epoch: int = 0
    window: int = 0
    position: int = 0
    samples: int = 0


class ShardContent(NamedTuple):
    """The usable samples of a shard: how many it holds, and the numbers of those that are not trained on."""

    samples: int
    held_out: tuple[int, ...] = ()


class StreamedBatch(NamedTuple):
    """One global batch, or the end of an epoch (``numbers`` is empty).

    epoch: of its samples. after: the position once it is trained. numbers: of its samples [ranks, batch_size]. others:
    of samples of other batches [ranks, …], none of them in this one. used, left: at the
    end of an epoch, its samples in batches, and those left over.
    """

    epoch: int
    after: Place
    numbers: NDArray[np.int64]
    others: NDArray[np.int64]
    used: int = 0
    left: int = 0


Window = Callable[[int, int], Sequence[ShardContent]]  # epoch, window -> the content of its shards, in their order


def sample_number(shard: int, number: int) -> int:
    """The number of a sample among all, from its shard and its number in it."""
    return (shard << SHARD_BITS) + number


def in_shard(number: int) -> tuple[int, int]:
    """The shard of a sample, and its number in it."""
    return number >> SHARD_BITS, number & _IN_SHARD


@dataclass(frozen=True)
class StreamingPlan:
    """What the order of samples depends on.

    sources: source of each shard. rates: fraction of each source's shards that an epoch uses, (0, 1]; which ones
    changes from epoch to epoch. window: number of shards. epoch_samples: of a resampled epoch; None: each shard once.
    """

    sources: tuple[int, ...]
    rates: tuple[float, ...]
    seed: int
    window: int
    batch_size: int
    ranks: int = 1
    epoch_samples: int | None = None

    @property
    def global_batch(self) -> int:
        """Samples of one batch over all ranks."""
        return self.batch_size * self.ranks

    @cached_property
    def shards_per_epoch(self) -> int:
        """Shards that an epoch reads; of a resampled one that is not fixed, and this is their number in all."""
        return len(self.sources) if self.epoch_samples else sum(self._per_source)

    def following(self, epoch: int, window: int) -> tuple[int, int]:
        """Epoch and number of the window after a window."""
        return (epoch, window + 1) if len(self.shards(epoch, window + 1)) else (epoch + 1, 0)

    def shards(self, epoch: int, window: int) -> NDArray[np.int64]:
        """Numbers of the shards of a window, in order; empty behind the last one of an epoch."""
        if self.epoch_samples:
            return self._drawn(window)
        return self._order(epoch)[window * self.window : (window + 1) * self.window]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The shards of an epoch."""
        if all(rate == 1 for rate in self.rates):
            used = np.arange(len(self.sources))
        else:
            sources = np.asarray(self.sources)
            parts = [
                next_part(np.flatnonzero(sources == source), count, epoch, self.seed, _TURNS, source)
                for source, count in enumerate(self._per_source)
            ]
            used = np.concatenate(parts)
        return permuted(used.astype(np.int64), self.seed, _PERMUTE, epoch)

    @cached_property
    def _per_source(self) -> tuple[int, ...]:
        sizes = np.bincount(self.sources, minlength=len(self.rates)).tolist()
        return tuple(min(size, max(1, round(rate * size))) for rate, size in zip(self.rates, sizes, strict=True))

    def _drawn(self, window: int) -> NDArray[np.int64]:
        # weighted, without repetition within the window (Efraimidis and Spirakis 2006)
        draws = uniforms(np.arange(len(self.sources)), 1, self.seed, _DRAW, window)[:, 0]
        weights = np.asarray(self.rates)[np.asarray(self.sources)]
        return np.argsort(-np.log1p(-draws) / weights, kind="stable")[: self.window]

    def order(self, epoch: int, window: int, contents: Sequence[ShardContent]) -> NDArray[np.int64]:
        """Numbers of a window's samples, in order.

        Args:
            epoch: of the window.
            window: its number in the epoch.
            contents: of its shards.
        """
        parts = []
        for shard, content in zip(self.shards(epoch, window).tolist(), contents, strict=True):
            numbers = np.arange(content.samples)
            if content.held_out:
                numbers = np.delete(numbers, content.held_out)
            parts.append(numbers + (shard << SHARD_BITS))
        return permuted(np.concatenate(parts), self.seed, _SHUFFLE, 0 if self.epoch_samples else epoch, window)


def streamed_batches(plan: StreamingPlan, start: Place, contents: Window) -> Iterator[StreamedBatch]:
    """All global batches from a position on, endless; between epochs their ends.

    Args:
        plan: of the order.
        start: position of the first sample.
        contents: returns what a window's shards hold, in the order of their numbers in `StreamingPlan.shards`.

    RunError for an epoch without a whole batch.
    """
    while True:
        begun_at_its_start, batches = start.samples == 0, 0
        for batch in _of_epoch(plan, start, contents):
            batches += bool(batch.numbers.size)
            if not batch.numbers.size and begun_at_its_start and not batches:
                raise RunError(Problem("data", _too_few(plan, batch)))
            yield batch
        start = batch.after


def _of_epoch(plan: StreamingPlan, start: Place, contents: Window) -> Iterator[StreamedBatch]:
    """The rest of an epoch, and its end."""
    epoch, window, first, used = start
    size, most = plan.global_batch, plan.epoch_samples
    waiting = latest = np.empty(0, np.int64)  # samples that are in no batch yet; all of the latest window
    place = (window, first)
    while most is None or used + size <= most:
        fruitless, longest = 0, 0
        while len(waiting) < size and len(shards := plan.shards(epoch, window)) and fruitless < _FRUITLESS:
            latest = plan.order(epoch, window, contents(epoch, window))
            if most is not None:
                waiting = waiting[~np.isin(waiting >> SHARD_BITS, shards)]
            waiting = np.concatenate([waiting, latest[first:]])
            window, first = window + 1, 0
            fruitless, longest = (0 if len(waiting) > longest else fruitless + 1), max(longest, len(waiting))
        if len(waiting) < size:
            break
        batch, waiting, used = waiting[:size], waiting[size:], used + size
        # what still waits is the end of the latest window, as less than a batch waited before that was taken in
        place = (window - 1, len(latest) - len(waiting)) if len(waiting) else (window, 0)
        after = Place(epoch, *place, used)
        if most is not None and used + size > most:
            after = Place(epoch + 1, *place)
        elif len(waiting) < size and not len(plan.shards(epoch, window)):
            after = Place(epoch + 1)
        yield StreamedBatch(epoch, after, batch.reshape(plan.ranks, plan.batch_size), _others(plan, latest, batch))
    nothing = np.empty((plan.ranks, 0), np.int64)
    end = Place(epoch + 1) if most is None else Place(epoch + 1, *place)
    yield StreamedBatch(epoch, end, nothing, nothing, used, len(waiting) if most is None else 0)


def _others(plan: StreamingPlan, order: NDArray[np.int64], batch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples [ranks, …] that may replace bad ones of a batch: those of its window about half of it away."""
    place = int(np.flatnonzero(order == batch[-1])[0])
    candidates = np.roll(order, -(place + 1 + len(order) // 2))[: (_LENDING + 1) * plan.global_batch]
    free = candidates[~np.isin(candidates, batch)]
    each = min(_LENDING * plan.batch_size, len(free) // plan.ranks)
    return free[: each * plan.ranks].reshape(plan.ranks, each)


def _too_few(plan: StreamingPlan, end: StreamedBatch) -> str:
    advice = "take a smaller data.batch_size, start fewer ranks, or take more data"
    return f"{end.left:,} samples are fewer than one global batch of {plan.global_batch:,}; {advice}"
