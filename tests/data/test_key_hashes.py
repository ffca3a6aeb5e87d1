# SPDX-License-Identifier: Apache-2.0
"""Hashes of keys: one rule for one key and for many, and the smallest of them, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clip_align.data.key_hashes import key_hash, key_hashes, smallest
from clip_align.data.shard_index import hashes_of_keys, shard_index


def test_many_keys_have_the_hashes_of_each() -> None:
    keys = ["a", "folder/0001", "ü", "\udcff", ""]
    assert key_hashes(keys).tolist() == [key_hash(key) for key in keys]
    assert key_hash("0001") == 0x220F2BA5E26B4694  # which samples are held out never changes
    assert key_hashes([]).tolist() == []


def test_stored_hashes_are_those_of_the_keys_as_messages_have_them(shared_data: Path, tmp_path: Path) -> None:
    path = str(shared_data / "cifar10" / "train" / "00000.tar")
    index = shard_index(path, tmp_path)
    assert hashes_of_keys(path, tmp_path, index).tolist() == [key_hash(index.key(n)) for n in range(len(index))]


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_of_blocks_are_those_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 60, 200).astype(np.uint64)  # many are equal
    cuts = np.sort(rng.integers(0, 201, 5))
    for most in (1, 7, 59, 300):
        limit = np.unique(hashes)[:most][-1]
        found, numbers = smallest(np.split(hashes, cuts), most)
        assert numbers.tolist() == np.flatnonzero(hashes <= limit).tolist()
        assert found.tolist() == hashes[numbers].tolist()
