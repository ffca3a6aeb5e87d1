# SPDX-License-Identifier: Apache-2.0
"""Retrieval among candidates and among all, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.metrics import retrieval
from clip_align.metrics.retrieval import choices_among, ranks_of_own


def test_each_image_chooses_among_its_own_candidates() -> None:
    texts = np.eye(4)
    images = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [1.0, 5.0, 0.0, 0.0]])
    candidates = np.array([[1, 2], [0, 3], [3, 1]])
    assert choices_among(images, texts, candidates).tolist() == [0, 1, 1]
    assert choices_among(images, texts, candidates[:, ::-1]).tolist() == [1, 0, 0]
    assert choices_among(images[:0], texts, candidates[:0]).tolist() == []


def test_without_a_difference_there_is_no_choice() -> None:
    texts, candidates = np.eye(3), np.array([[0, 1, 2]] * 4)
    images = np.array([[1, 2, 3], [np.nan, 1, 1], [0, 0, 0], [1, 1, 1]], dtype=float)
    assert choices_among(images, texts, candidates).tolist() == [2, -1, -1, -1]
    same = np.tile(np.array([1.0, 2.0, 3.0]), (4, 1))
    assert choices_among(same, texts, candidates).tolist() == [-1] * 4


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(30, 6)), rng.normal(size=(12, 6))
    candidates = np.stack([rng.permutation(12)[:5] for _ in range(30)])
    own, of = np.arange(30) % 10, np.arange(12) % 10
    whole = choices_among(images, texts, candidates), ranks_of_own(images, texts, own, of)
    monkeypatch.setattr(retrieval, "CHUNK", 7)
    assert np.array_equal(choices_among(images, texts, candidates), whole[0])
    assert np.array_equal(ranks_of_own(images, texts, own, of), whole[1])


def test_ranks_by_hand() -> None:
    """Two captions an image: the better one counts."""
    captions = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    images = np.array([[1.0, 0.1], [0.1, 1.0]])
    of = np.array([0, 0, 1, 1])
    # image 0: cosines fall in the order of captions 0, 2, 3, 1; image 1: 1, 3, 2, 0
    assert ranks_of_own(images, captions, np.array([0, 1]), of).tolist() == [1, 2]
    assert ranks_of_own(captions, images, of, np.array([0, 1])).tolist() == [1, 2, 2, 1]
    assert np.isnan(ranks_of_own(np.array([[np.nan, 1.0]]), captions, np.array([0]), of)).all()


def test_ties_count_half_so_that_guessing_has_the_mean_rank() -> None:
    targets = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 2)
    assert ranks_of_own(np.array([[1.0, 0.1]]), targets, np.array([0]), np.arange(5)).tolist() == [2.0]
    assert ranks_of_own(np.array([[1.0, 0.1]]), targets, np.array([4]), np.arange(5)).tolist() == [4.5]


def test_a_collapsed_model_has_no_ranks() -> None:
    different, same = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 3))
    assert np.isfinite(ranks_of_own(different, different, np.arange(5), np.arange(5))).all()
    assert np.isnan(ranks_of_own(same, different, np.arange(5), np.arange(5))).all()
    assert np.isnan(ranks_of_own(different, same, np.arange(5), np.arange(5))).all()
