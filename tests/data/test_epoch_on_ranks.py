# SPDX-License-Identifier: Apache-2.0
"""An epoch of uneven shards on two ranks with two workers each: every sample once, but for those that are reported."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clip_align.config import Source
from clip_align.data.loader import Batch
from clip_align.data.sources.streaming import StreamingData
from clip_align.data.sources.webdataset import ShardData
from clip_align.data.training_data import TrainingData
from tests.data.stream import take

SIZES = (6, 9, 1, 4, 7, 5)  # samples of the shards
RANKS, BATCHES = 2, 7  # of an epoch: 32 // (2 * 2), less one where three samples cannot be read
ALL = {f"{n}-{k:05d}" for n, size in enumerate(SIZES) for k in range(size)}


def epochs(kind: type[Any], folder: Path, cache: Path, tokenizer: Any, batches: int) -> tuple[list[list[Batch]], str]:
    """The batches of two epochs, those of both ranks together; and what the first rank reported."""
    lines: list[str] = []
    of_ranks = []
    for rank in range(RANKS):
        # one shard at a time in memory, and fewer shards than ranks times workers have at a time
        data = kind(shards=(Source(str(folder)),), batch_size=2, workers=2, window_shards=2, max_bad_share=0.5)
        notify = lines.append if rank == 0 else (lambda line: None)
        training = TrainingData(data, 8, tokenizer, 0, rank, RANKS, cache, 1, notify)
        if rank == 0:
            lines.extend(training.check())
        of_ranks.append(take(training, 2 * batches + 1))
    both = [[batch for part in of_ranks for batch in part[first : first + batches]] for first in (0, batches)]
    for part in of_ranks:  # equally many on both ranks: the epoch ends after the same batch
        numbers = [int(batch["cursor"][0]) for batch in part]
        assert numbers == [0] * (batches - 1) + [1] * batches + [2, 2]
    return both, "\n".join(lines)


@pytest.mark.parametrize("kind", [ShardData, StreamingData])
@pytest.mark.parametrize("bad", [0, 3])
def test_no_sample_is_seen_twice_and_none_is_lost_but_those_reported(
    shards: Any, tmp_path: Path, tokenizer: Any, kind: type[Any], bad: int
) -> None:
    for number, size in enumerate(SIZES):
        members = shards.members(size, f"{number}-")
        if number == 1:
            for sample in range(bad):  # its head is right, so that it is found in decoding
                name, image = members[3 * sample]
                members[3 * sample] = (name, image[:60])
        shards.tar(f"{number}.tar", members)
    found, reported = epochs(kind, shards.folder, tmp_path / "cache", tokenizer, 8)
    for epoch in found:
        seen = Counter(key for batch in epoch for key in batch["keys"])
        stand_ins = sum(batch["stand_ins"] for batch in epoch)
        skipped = {key for batch in epoch for _, key in batch["skipped"]}
        assert sum(seen.values()) == 32
        assert sum(seen.values()) - len(seen) == stand_ins == len(skipped) == bad  # a stand-in is counted as one
        assert ALL - set(seen) == skipped
        assert len(ALL) == 32
    left_over = [int(n) for n in re.findall(r"(\d+)(?: samples)? left over", reported)]
    assert left_over == ([0, 0] if kind is StreamingData else []), reported


@pytest.mark.parametrize("kind", [ShardData, StreamingData])
def test_what_fills_no_batch_is_reported(shards: Any, tmp_path: Path, tokenizer: Any, kind: type[Any]) -> None:
    shards.good(*SIZES[:-1], 4)
    found, reported = epochs(kind, shards.folder, tmp_path / "cache", tokenizer, BATCHES)
    for epoch in found:
        seen = [key for batch in epoch for key in batch["keys"]]
        assert len(seen) == len(set(seen)) == 28
    left_over = [int(n) for n in re.findall(r"(\d+)(?: samples)? left over", reported)]
    assert left_over == ([3, 3] if kind is StreamingData else [3]), reported
