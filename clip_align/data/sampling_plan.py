# SPDX-License-Identifier: Apache-2.0
"""The assignment of samples to batches: a function of seed and epoch only, the same on every rank.

Blocks (shards) are permuted and divided into windows, and samples are shuffled within a window; samples that do not
fill a global batch move to the next window. Every rank takes its part of each global batch, so that all ranks have
equally many batches of equal size and no sample occurs twice in an epoch. The remainder at the end of an epoch, less
than one global batch, replaces bad samples. If it does not suffice, samples of a batch half an epoch away are used:
they occur twice in the epoch, but never twice in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PERMUTE_BLOCKS, _SHUFFLE, _SUBSET, CROP, FLIP, CAPTION = range(1, 7)  # purposes of random numbers
_LENDING = 2  # number of batches whose samples may replace bad ones of another


class Cursor(NamedTuple):
    """A position in the data: the next batch is number ``batch`` of epoch ``epoch``, both from 0."""

    epoch: int = 0
    batch: int = 0


class Task(NamedTuple):
    """One batch to be made by one rank, or a part of one."""

    epoch: int
    # the position once this batch is trained, a `Cursor` or a `streaming.plan.Place`; of a part that is not the last,
    # that of the whole batch
    after: tuple[int, ...]
    samples: NDArray[np.int64]  # [batch_size]
    spares: NDArray[np.int64]  # of the epoch's remainder, for this batch of this rank only
    others: NDArray[np.int64]  # of other batches of this rank: not in this global batch


def random_bits(numbers: NDArray[np.int64] | NDArray[np.uint64], *key: int) -> NDArray[np.uint64]:
    """64 random bits for each number, a function of number and ``key`` only (splitmix64, Steele et al. 2014).

    NumPy's generators are not used: their streams may change between versions, and one per sample is too slow.
    """
    mixed = np.zeros(1, np.uint64)  # an array, as NumPy warns of overflow in scalars only
    for part in key:
        mixed = _mix(mixed + np.uint64(part % 2**64))
    return _mix(_mix(numbers.astype(np.uint64)) ^ mixed)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # one step of splitmix64 with its published constants; uint64 wraps around
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(numbers: NDArray[np.int64], draws: int, *key: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) [len(numbers), draws] for each number, a function of number and ``key`` only."""
    columns = [random_bits(numbers, *key, draw) >> np.uint64(11) for draw in range(draws)]
    return np.stack(columns, axis=1) * 2.0**-53  # 53 bits: what a float64 holds


def permuted(numbers: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    """The numbers in an order given by ``key``."""
    return numbers[np.argsort(random_bits(numbers, *key), kind="stable")]  # stable: the same on every machine


def next_part(numbers: NDArray[np.int64], count: int, epoch: int, *key: int) -> NDArray[np.int64]:
    """``count`` of the numbers: of one order given by ``key``, each epoch takes the part after the last epoch's.

    Args:
        numbers: that have their turn, each once before any of them comes again; none where ``count`` is 0.
        count: of each epoch.
        epoch: this one, from 0.
        key: of the order.
    """
    order = permuted(numbers, *key)
    return order[(epoch * count + np.arange(count)) % max(1, len(order))]


@dataclass(frozen=True)
class SamplingPlan:
    """How samples become batches.

    blocks: samples of each block. sources: source of each block. rates: fraction of each source's samples
    that an epoch uses, (0, 1]; which ones changes from epoch to epoch until all have had their turn.
    batch_size: per rank.
    """

    blocks: tuple[int, ...]
    sources: tuple[int, ...]
    rates: tuple[float, ...]
    seed: int
    window: int
    batch_size: int
    ranks: int = 1

    @property
    def global_batch(self) -> int:
        """Samples of one batch over all ranks."""
        return self.batch_size * self.ranks

    @cached_property
    def per_source(self) -> tuple[int, ...]:
        """Samples an epoch takes from each source."""
        sizes = np.bincount(self.sources, weights=self.blocks, minlength=len(self.rates))
        return tuple(round(rate * int(size)) for rate, size in zip(self.rates, sizes, strict=True))

    @property
    def batches_per_epoch(self) -> int:
        """Batches of each rank in an epoch."""
        return sum(self.per_source) // self.global_batch

    @property
    def remainder(self) -> int:
        """Samples of an epoch that fill no whole global batch."""
        return sum(self.per_source) % self.global_batch

    def epoch(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All samples of an epoch as [batches, ranks, batch_size], and its remainder."""
        starts = np.cumsum([0, *self.blocks])  # number of each block's first sample
        used = self._used(number)
        order = permuted(np.arange(len(self.blocks)), self.seed, _PERMUTE_BLOCKS, number)
        done: list[NDArray[np.int64]] = []
        carried = np.empty(0, np.int64)  # of the windows before, too few for a global batch
        for first in range(0, len(order), self.window):
            chosen = [np.arange(starts[b], starts[b + 1]) for b in order[first : first + self.window]]
            pool = np.concatenate([carried, *chosen])
            pool = permuted(pool if used is None else pool[used[pool]], self.seed, _SHUFFLE, number, first)
            whole = len(pool) // self.global_batch * self.global_batch  # samples that fill global batches
            done.append(pool[:whole])
            carried = pool[whole:]
        return np.concatenate(done).reshape(-1, self.ranks, self.batch_size), carried

    def _used(self, epoch: int) -> NDArray[np.bool_] | None:
        """Which samples this epoch uses; None for all."""
        if all(rate == 1 for rate in self.rates):
            return None
        used = np.zeros(sum(self.blocks), np.bool_)
        of_sample = np.repeat(self.sources, self.blocks)  # [samples]
        for source, count in enumerate(self.per_source):
            used[next_part(np.flatnonzero(of_sample == source), count, epoch, self.seed, _SUBSET, source)] = True
        return used


@dataclass(frozen=True)
class Tasks:
    """Tasks of one rank from position ``start`` on, endless. ``parts``: each batch comes in so many, of equal size."""

    plan: SamplingPlan
    rank: int
    start: Cursor
    parts: int = 1

    def __iter__(self) -> Iterator[Task]:
        epoch, first = self.start
        count = self.plan.batches_per_epoch
        while count:  # 0: fewer samples than a global batch; the stream is empty
            order, rest = self.plan.epoch(epoch)
            slots = count * self.plan.ranks  # batches of all ranks: each remaining sample belongs to one of them
            for number in range(first, count):
                after = Cursor(epoch, number + 1) if number + 1 < count else Cursor(epoch + 1, 0)
                slot = number * self.plan.ranks + self.rank
                # half an epoch away, and never batch ``number`` itself
                ahead = [count // 2 + k for k in range(min(_LENDING, count)) if (count // 2 + k) % count]
                others = order[[(number + k) % count for k in ahead], self.rank].ravel()
                whole = Task(epoch, after, order[number, self.rank], rest[slot::slots], others)
                yield from parts_of(whole, self.parts, Cursor(epoch, number))
            epoch, first = epoch + 1, 0


def parts_of(task: Task, parts: int, before: tuple[int, ...]) -> Iterator[Task]:
    """Parts of a task in order; no replacement of a bad sample is offered to two of them.

    Args:
        task: of a whole batch.
        parts: number of parts, which divides the batch.
        before: the position of the batch.
    """
    for part, samples in enumerate(np.split(task.samples, parts)):
        after = task.after if part == parts - 1 else before
        yield Task(task.epoch, after, samples, task.spares[part::parts], task.others[part::parts])
