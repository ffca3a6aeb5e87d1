# SPDX-License-Identifier: Apache-2.0
"""Hashes of samples' keys, 64 bits each: they decide which samples are held out, whatever the order of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["key_hash", "key_hashes", "smallest"]


def key_hash(key: str) -> int:
    """Hash of a key."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def key_hashes(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes of keys, uint64 [N]."""
    blake, digests = hashlib.blake2b, bytearray()
    for key in keys:  # as key_hash, without a Python integer for each
        digests += blake(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def smallest(blocks: Iterable[NDArray[np.uint64]], most: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The samples with the ``most`` smallest different hashes: their hashes and numbers, in the order of numbers.

    Memory is that of one block and of what is returned, however many samples there are.

    Args:
        blocks: hashes of consecutive samples.
        most: different hashes, at least 1.
    """
    hashes, numbers = np.empty(0, np.uint64), np.empty(0, np.int64)
    limit, start = np.iinfo(np.uint64).max, 0
    for block in blocks:
        near = np.flatnonzero(block <= limit)
        hashes = np.concatenate([hashes, block[near]])
        numbers = np.concatenate([numbers, near + start])
        different = np.unique(hashes)
        if len(different) >= most:
            limit = different[most - 1]
            kept = hashes <= limit
            hashes, numbers = hashes[kept], numbers[kept]
        start += len(block)
    return hashes, numbers
