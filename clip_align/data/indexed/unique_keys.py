# SPDX-License-Identifier: Apache-2.0
"""Leave out samples whose key came before (``data.unique_keys``): the first in the order of shards stays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clip_align.data.bad_samples import Causes
from clip_align.data.indexed.held_out import TrainedSamples
from clip_align.data.indexed.inventory import Inventory

REPEATED = "whose key came before"  # as a cause, after a number of samples


def with_unique_keys(found: Inventory) -> Inventory:
    """The inventory without the samples whose key another sample before them has.

    Keys are compared by their hashes, 64 bits: of 100 million different keys two are taken for one with a probability
    of .0003. Memory is 24 bytes a sample while it runs.
    """
    blocks = list(found.key_hashes())
    hashes = np.concatenate([np.empty(0, np.uint64), *blocks])
    repeated = np.ones(len(hashes), np.bool_)
    repeated[np.unique(hashes, return_index=True)[1]] = False  # the first of each
    numbers = np.flatnonzero(repeated)
    filtered = Causes()
    filtered.merge(found.filtered)
    if len(numbers):
        filtered.add(REPEATED, found.samples.key(int(numbers[0])), len(numbers))
    left = len(hashes) - len(numbers)
    first = f": the first is {found.samples.key(int(numbers[0]))}" if len(numbers) else ""
    line = f"data: {left:,} samples have different keys, {len(numbers):,} whose key came before are left out{first}"
    return replace(
        found,
        samples=TrainedSamples(found.samples, numbers),
        notes=(*found.notes, line),
        # in the fingerprint too: what a run may be resumed on
        fingerprint=hashlib.sha256(f"{found.fingerprint} unique keys".encode()).hexdigest()[:16],
        key_hashes=partial(_kept, blocks, repeated),
        filtered=filtered,
    )


def _kept(blocks: Sequence[NDArray[np.uint64]], repeated: NDArray[np.bool_]) -> list[NDArray[np.uint64]]:
    ends = np.cumsum([len(block) for block in blocks])[:-1]
    parts = np.split(repeated, ends)
    return [block[~out] for block, out in zip(blocks, parts, strict=True)]
