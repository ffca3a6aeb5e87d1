# SPDX-License-Identifier: Apache-2.0
"""Fixed batches: every row once, every pair in one batch, few rows twice."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.evaluation.batches import image_batches


def rated(references: int, each: int) -> np.ndarray:
    others = references + np.arange(references * each)
    return np.stack([np.repeat(np.arange(references), each), others], axis=1)


NONE = np.zeros((0, 2), np.int64)


def test_without_pairs_rows_are_cut_in_order() -> None:
    batches = image_batches(70, NONE, 32)
    assert [batch.rows.tolist() for batch in batches] == [[*range(32)], [*range(32, 64)], [*range(64, 70)]]
    assert all(batch.first.all() for batch in batches)


@pytest.mark.parametrize(
    ("images", "pairs", "size"),
    [
        (105, rated(5, 20), 32),
        (105, rated(5, 20), 8),
        (120, rated(5, 20), 200),
        (30, np.random.default_rng(0).integers(0, 30, (200, 2)), 7),
        (12, np.array([[3, 3], [3, 4], [4, 3], [3, 4]]), 1),
    ],
)
def test_every_row_counts_once_and_every_pair_has_both_images(images: int, pairs: np.ndarray, size: int) -> None:
    batches = image_batches(images, pairs, size)
    assert sorted(np.concatenate([batch.rows[batch.first] for batch in batches]).tolist()) == [*range(images)]
    assert sorted(np.concatenate([batch.pairs for batch in batches]).tolist()) == [*range(len(pairs))]
    for batch in batches:
        assert len(set(batch.rows.tolist())) == len(batch.rows) <= max(size, 2)
        assert set(pairs[batch.pairs].ravel().tolist()) <= set(batch.rows.tolist())


@pytest.mark.parametrize(("references", "each", "tiles"), [(25, 120, 1), (24, 80, 4)])
def test_at_most_one_row_a_batch_is_encoded_again(references: int, each: int, tiles: int) -> None:
    """TID2013 and its re-made pairs in four tiles, in batches of 256."""
    pairs = rated(references, each)
    rows = np.concatenate([pairs * tiles + tile for tile in range(tiles)])
    images = references * (1 + each) * tiles
    batches = image_batches(images, rows, 256)
    surplus = sum(len(batch.rows) for batch in batches) - images
    assert surplus < len(batches) == -(-images // 256)
    assert surplus / images < 0.005
