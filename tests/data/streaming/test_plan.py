# SPDX-License-Identifier: Apache-2.0
"""Properties of the order of streamed samples, for shards of any sizes."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_align.data.streaming.plan import (
    Place,
    ShardContent,
    StreamedBatch,
    StreamingPlan,
    in_shard,
    sample_number,
    streamed_batches,
)
from clip_align.errors import RunError

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def plan(sizes: Sequence[int], **changes: Any) -> StreamingPlan:
    facts = {"sources": (0,) * len(sizes), "rates": (1.0,), "seed": 0, "window": 3, "batch_size": 2, **changes}
    return StreamingPlan(**facts)


def stream(
    plan: StreamingPlan,
    sizes: Sequence[int],
    start: Place = Place(),  # noqa: B008
    held: Sequence[Sequence[int]] = (),
) -> Any:
    def contents(epoch: int, window: int) -> list[ShardContent]:
        shards = plan.shards(epoch, window).tolist()
        return [ShardContent(sizes[shard], tuple(held[shard]) if held else ()) for shard in shards]

    return streamed_batches(plan, start, contents)


def epoch(batches: Any) -> tuple[list[StreamedBatch], StreamedBatch]:
    """The batches of an epoch, and its end."""
    found = list[StreamedBatch]()
    for batch in batches:
        if not batch.numbers.size:
            return found, batch
        found.append(batch)
    raise AssertionError


def numbers(batches: Sequence[StreamedBatch]) -> list[int]:
    return [number for batch in batches for number in batch.numbers.ravel().tolist()]


@settings(deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9))
def test_an_epoch_holds_everything_once_but_what_it_reports(
    sizes: list[int], window: int, batch: int, ranks: int, seed: int
) -> None:
    p = plan(sizes, window=window, batch_size=batch, ranks=ranks, seed=seed)
    every = {sample_number(shard, n) for shard, size in enumerate(sizes) for n in range(size)}
    if sum(sizes) < p.global_batch:
        with pytest.raises(RunError, match=f"^data: {sum(sizes)} samples are fewer than one global batch"):
            next(stream(p, sizes))
        return
    batches = stream(p, sizes)
    orders = []
    for number in range(2):
        found, end = epoch(batches)
        seen = numbers(found)
        assert len(seen) == len(set(seen)) == end.used == sum(sizes) // p.global_batch * p.global_batch
        assert set(seen) <= every
        assert end.left == sum(sizes) % p.global_batch
        assert {b.numbers.shape for b in found} == {(ranks, batch)}  # equal batches on all ranks
        assert {b.epoch for b in found} == {number}
        orders.append(seen)
    if sum(sizes) > 8:
        assert orders[0] != orders[1]


@settings(deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 3), st.integers(0, 9), st.booleans(), st.data())
def test_from_any_place_it_goes_on_like_the_uninterrupted(
    sizes: list[int], window: int, batch: int, seed: int, resampled: bool, data: Any
) -> None:
    p = plan(sizes, window=window, batch_size=batch, seed=seed, epoch_samples=4 * batch + 1 if resampled else None)
    if sum(sizes) < batch or (resampled and min(sizes) < batch):
        return
    whole = list(islice(stream(p, sizes), 12))
    at = data.draw(st.integers(0, len(whole) - 1))
    rest = list(islice(stream(p, sizes, Place(*map(int, whole[at].after))), 12))
    after = [b for b in whole[at + 1 :] if b.numbers.size]
    for one, other in zip(after, (b for b in rest if b.numbers.size), strict=False):
        assert (one.epoch, one.after) == (other.epoch, other.after)
        assert np.array_equal(one.numbers, other.numbers)
        assert np.array_equal(one.others, other.others)


@settings(deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 9))
def test_the_order_does_not_depend_on_the_number_of_ranks(sizes: list[int], window: int, seed: int) -> None:
    if sum(sizes) < 6:
        return
    found = []
    for ranks in (1, 2, 3, 6):
        p = plan(sizes, window=window, batch_size=6 // ranks, ranks=ranks, seed=seed)
        batches, _ = epoch(stream(p, sizes))
        found.append((numbers(batches), [b.after for b in batches]))
    assert all(one == found[0] for one in found)


@settings(deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_replacements_are_of_no_batch_that_is_trained_with_them(
    sizes: list[int], batch: int, ranks: int, resampled: bool
) -> None:
    p = plan(sizes, batch_size=batch, ranks=ranks, epoch_samples=20 if resampled else None)
    if min(sizes) < p.global_batch:
        return
    for one in islice(stream(p, sizes), 12):
        lent = one.others.ravel().tolist()
        assert len(set(lent)) == len(lent)  # and no two ranks have the same
        assert not set(lent) & set(one.numbers.ravel().tolist())


def test_long_windows_have_replacements_for_two_batches_of_each_rank() -> None:
    p = plan((50,) * 6, ranks=2)
    batches, _ = epoch(stream(p, (50,) * 6))
    assert {b.others.shape for b in batches} == {(2, 4)}


def test_what_is_held_out_is_in_no_batch() -> None:
    sizes, held = (8, 5, 9), ((0, 7), (), (3,))
    batches, end = epoch(stream(plan(sizes), sizes, held=held))
    seen = set(map(in_shard, numbers(batches)))
    assert len(seen) == 18
    assert (end.used, end.left) == (18, 1)
    assert not {(0, 0), (0, 7), (2, 3)} & seen


def test_a_window_mixes_its_shards_and_no_others() -> None:
    sizes = (40,) * 9
    p = plan(sizes, batch_size=4)
    batches, _ = epoch(stream(p, sizes))
    for number, start in enumerate(range(0, 90, 30)):
        shards = Counter(in_shard(n)[0] for n in numbers(batches[start : start + 10]))
        assert set(shards) == set(p.shards(0, number).tolist())


def test_a_source_of_half_the_weight_gives_half_its_shards_in_turn() -> None:
    p = plan((1,) * 12, sources=(0,) * 6 + (1,) * 6, rates=(1.0, 0.5))
    epochs = [[int(s) for w in range(4) for s in p.shards(number, w)] for number in range(2)]
    assert p.shards_per_epoch == 9
    assert [len(set(shards)) for shards in epochs] == [9, 9]
    assert {shard for shards in epochs for shard in shards} == set(range(12))


def test_resampled_epochs_are_so_many_samples_and_no_batch_repeats_one() -> None:
    sizes = (7, 9, 11, 6, 8)
    p = plan(sizes, batch_size=5, window=2, epoch_samples=52)
    batches = stream(p, sizes)
    drawn = Counter[int]()
    for _ in range(40):
        found, end = epoch(batches)
        assert (len(found), end.used, end.left) == (10, 50, 0)
        for batch in found:
            assert len(set(batch.numbers.ravel().tolist())) == 5
            drawn.update(in_shard(n)[0] for n in batch.numbers.ravel().tolist())
    assert set(drawn) == set(range(5))


def test_resampling_follows_the_weights() -> None:
    p = plan((1,) * 40, sources=(0,) * 20 + (1,) * 20, rates=(1.0, 0.25), window=1, epoch_samples=10)
    drawn = np.array([p.shards(epoch, window)[0] for epoch in range(50) for window in range(60)])
    assert abs((drawn < 20).mean() - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 3000)


def test_resampling_too_few_samples_ends() -> None:
    p = plan((3, 3), batch_size=8, window=2, epoch_samples=100)
    with pytest.raises(RunError, match="fewer than one global batch of 8"):
        next(stream(p, (3, 3)))


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    """A window's order is all that is made: 20 times as many shards need the same."""
    peaks = []
    for shards in (100, 2000):
        p = plan((1000,) * shards, window=4, batch_size=100)
        tracemalloc.start()
        list(takewhile(lambda b: b.after.window < 10, stream(p, (1000,) * shards)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2000 * 100


def test_the_order_is_frozen() -> None:
    """Runs of older versions must resume into the same order: these numbers may never change."""
    sizes = (3, 4, 2)
    batches, _ = epoch(stream(plan(sizes, window=2), sizes))
    assert [in_shard(n) for n in numbers(batches)] == FROZEN
    assert [tuple(b.after) for b in batches] == FROZEN_PLACES


FROZEN = [(1, 3), (0, 2), (0, 0), (0, 1), (1, 1), (1, 2), (1, 0), (2, 0)]
FROZEN_PLACES = [(0, 0, 2, 2), (0, 0, 4, 4), (0, 0, 6, 6), (1, 0, 0, 0)]
