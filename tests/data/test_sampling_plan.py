# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from clip_align.data import sampling_plan as module
from clip_align.data.sampling_plan import Cursor, SamplingPlan, Tasks, permuted, random_bits, uniforms


def plan(blocks: tuple[int, ...] = (37, 3, 50, 20), batch: int = 8, ranks: int = 1, **changes: object) -> SamplingPlan:
    facts = {"sources": (0,) * len(blocks), "rates": (1.0,), "seed": 0, "window": 2, **changes}
    return SamplingPlan(blocks, batch_size=batch, ranks=ranks, **facts)  # type: ignore[arg-type]


def test_random_bits_are_frozen() -> None:
    """Runs of older versions must resume into the same order: these numbers may never change."""
    assert random_bits(np.array([0, 1, 2**40]), 0, 5).tolist() == [
        3967226234219592115,
        16822202101897441812,
        7347816890471747096,
    ]


def test_the_mixer_is_splitmix64() -> None:
    """First number of the published generator when it is seeded with 0 (Vigna's reference implementation)."""
    assert module._mix(np.zeros(1, np.uint64)).tolist() == [0xE220A8397B1DCDAF]


def test_uniforms_are_uniform_and_independent() -> None:
    draws = uniforms(np.arange(20_000), 4, 1, 2, 3)
    assert draws.shape == (20_000, 4)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 20_000)
    neighbours = np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]
    others = np.corrcoef(draws.T) - np.eye(4)
    assert max(abs(neighbours), np.abs(others).max()) < 4 / np.sqrt(20_000)
    assert not np.allclose(draws, uniforms(np.arange(20_000), 4, 1, 2, 4))


def test_every_permutation_is_about_as_likely() -> None:
    orders = [tuple(permuted(np.arange(3), seed, 7).tolist()) for seed in range(3000)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert np.abs(counts - 500).max() < 4 * np.sqrt(500)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 16])
def test_an_epoch_holds_everything_once(ranks: int, window: int) -> None:
    p = plan(ranks=ranks, window=window)
    for epoch in range(3):
        order, rest = p.epoch(epoch)
        assert order.shape == (110 // (8 * ranks), ranks, 8)
        assert len(rest) == p.remainder == 110 % (8 * ranks)
        assert sorted([*order.ravel(), *rest]) == list(range(110))
    assert p.batches_per_epoch == 110 // (8 * ranks)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = plan().epoch(0)[0]
    assert np.array_equal(first, plan().epoch(0)[0])
    assert not np.array_equal(first, plan().epoch(1)[0])
    assert not np.array_equal(first, plan(seed=1).epoch(0)[0])


def test_ranks_share_the_batches_that_one_rank_would_have() -> None:
    one = plan(batch=12).epoch(3)[0]
    for ranks in (2, 3):
        several = plan(batch=12 // ranks, ranks=ranks).epoch(3)[0]
        assert np.array_equal(one.reshape(-1), several.reshape(-1))


def test_shards_are_read_in_windows() -> None:
    p = plan((100,) * 10, batch=10, window=2)
    shards = p.epoch(0)[0].reshape(-1, 200) // 100  # 200 samples a window, no remainder
    assert [len(set(window.tolist())) for window in shards] == [2] * 5
    assert all((window[1:] != window[:-1]).sum() > 50 for window in shards)  # and the two are mixed


def test_few_small_shards_fill_batches_together() -> None:
    p = plan((1, 1, 2, 1, 3), batch=4, window=1)
    assert p.batches_per_epoch == 2
    assert sorted(p.epoch(0)[0].ravel().tolist()) == list(range(8))


def test_weights_bound_what_an_epoch_takes_of_a_source() -> None:
    p = plan((60, 40, 50), batch=5, sources=(0, 0, 1), rates=(1.0, 0.3), window=3)
    assert p.per_source == (100, 15)
    seen: list[int] = []
    for epoch in range(10):
        order, rest = p.epoch(epoch)
        taken = [*order.ravel().tolist(), *rest.tolist()]
        assert len(set(taken)) == len(taken) == 115
        assert sum(n >= 100 for n in taken) == 15
        seen += [n for n in taken if n >= 100]
    counts = np.bincount(seen, minlength=150)[100:]
    assert counts.tolist() == [3] * 50  # 10 epochs of 15 samples are exactly three rounds through the 50


def test_tasks_go_on_over_epochs_and_from_any_position() -> None:
    p = plan(batch=16, ranks=2)  # 110 samples: three batches of 32 an epoch, 14 left
    assert p.batches_per_epoch == 3
    tasks = list(islice(Tasks(p, 1, Cursor(0, 0)), 8))
    assert [t.after for t in tasks[:4]] == [(0, 1), (0, 2), (1, 0), (1, 1)]
    assert np.array_equal(tasks[4].samples, p.epoch(1)[0][1, 1])
    for number in range(1, 7):
        resumed = next(iter(Tasks(p, 1, tasks[number - 1].after)))
        assert np.array_equal(resumed.samples, tasks[number].samples)
        assert np.array_equal(resumed.spares, tasks[number].spares)
        assert resumed.after == tasks[number].after


def test_spares_are_the_remainder_each_for_one_batch() -> None:
    p = plan(batch=16, ranks=2)
    spares = [n for rank in range(2) for t in islice(Tasks(p, rank, Cursor(2, 0)), 3) for n in t.spares.tolist()]
    assert sorted(spares) == sorted(p.epoch(2)[1].tolist())


def test_parts_of_a_batch_share_no_sample_and_no_replacement() -> None:
    p = plan(batch=16, ranks=2)
    of_parts = iter(Tasks(p, 1, Cursor(2, 1), 4))
    for whole in islice(Tasks(p, 1, Cursor(2, 1)), 4):  # into the next epoch
        parts = list(islice(of_parts, 4))
        assert [len(part.samples) for part in parts] == [4] * 4
        assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
        for name in ("spares", "others"):
            offered = np.concatenate([getattr(part, name) for part in parts])
            assert sorted(offered.tolist()) == sorted(getattr(whole, name).tolist())
        assert parts[-1].after == whole.after


def test_less_than_one_batch_gives_no_tasks() -> None:
    assert list(Tasks(plan((5,), batch=8), 0, Cursor(0, 0))) == []
