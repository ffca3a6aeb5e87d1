# SPDX-License-Identifier: Apache-2.0
"""Zero-shot decisions and accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clip_align.metrics.accuracy import accuracy, choices, choices_and_first, wilson


def test_choices_by_hand() -> None:
    prompts = np.eye(3)[:, :2] + [[0, 0], [0, 0], [-1, -1]]  # right, up, down left
    images = np.array([[5.0, 1.0], [0.1, 0.2], [-3.0, -2.0], [1.0, 1.0]])
    decided = choices(images, prompts)
    assert decided.dtype == np.int8
    assert decided.tolist() == [0, 1, 2, 0]  # the first class wins a tie
    assert choices(1e-3 * images, 7 * prompts).tolist() == decided.tolist()


def test_choices_without_a_decision() -> None:
    prompts = np.eye(3)
    images = np.array([[1, 2, 3], [math.nan, 1, 1], [math.inf, 1, 1], [0, 0, 0], [1, 1, 1], [3, 2, 1]], dtype=float)
    assert choices(images, prompts).tolist() == [2, -1, -1, -1, -1, 0]
    assert choices(images, np.ones((3, 3))).tolist() == [-1] * 6
    assert choices(images, np.full((3, 3), math.nan)).tolist() == [-1] * 6
    assert choices(np.ones((0, 3)), prompts).tolist() == []


def test_a_model_that_sees_no_difference_decides_nothing() -> None:
    generator = np.random.default_rng(0)
    prompts, one = generator.normal(size=(16, 64)), generator.normal(size=64).astype(np.float32)
    same = one * (1 + 1e-7 * generator.normal(size=(20, 64)).astype(np.float32))
    assert (choices(same, prompts) == -1).all()
    assert accuracy(choices(same, prompts), np.arange(20) % 16).value is None
    different = one + 1e-3 * generator.normal(size=(20, 64))
    assert (choices(different, prompts) >= 0).all()


def test_decisions_among_many_classes_have_room() -> None:
    prompts = np.random.default_rng(0).normal(size=(200, 8))
    assert choices(prompts[:127], prompts[:127]).dtype == np.int8
    answered = choices(prompts, prompts)
    assert answered.dtype == np.int16
    assert answered.tolist() == list(range(200))
    empty = choices(np.ones((0, 8)), prompts)
    assert (len(empty), empty.dtype) == (0, np.int16)


def test_wilson_known_answers() -> None:
    """Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29."""
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0, 1)
    for n in range(1, 200):  # exactly, without rounding errors
        assert (wilson(0, n)[0], wilson(n, n)[1]) == (0, 1)


def test_accuracy() -> None:
    estimate = accuracy(np.array([0, 1, -1, 2]), np.array([0, 1, 2, 0]))
    assert estimate.value == 0.5
    assert (estimate.low, estimate.high) == wilson(2, 4)
    assert accuracy(np.array([3]), np.array([3])).value == 1.0
    assert accuracy(np.array([]), np.array([])).reason == "no images"
    nothing = accuracy(np.full(3, -1), np.arange(3))
    assert nothing.reason == "no decisions: the embeddings of all 3 images are equal or not finite"


def test_choices_in_chunks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, prompts = rng.normal(size=(23, 5)), rng.normal(size=(200, 5))
    images[3], images[11] = np.nan, 0
    whole = choices(images, prompts)
    collapsed = np.tile(images[0], (23, 1))
    monkeypatch.setattr("clip_align.metrics.accuracy.CHUNK", 4)
    assert np.array_equal(choices(images, prompts), whole)
    assert whole.dtype == choices(images, prompts).dtype == np.int16
    assert (choices(collapsed, prompts) == -1).all()
    # two chunks, each of one image twice: not collapsed
    assert (choices(np.repeat(images[:2], 4, axis=0), prompts) >= 0).all()


def first_ones(images: np.ndarray, prompts: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Whether the right class is among the first ones; the decisions beside it are those of `choices`."""
    chosen, first = choices_and_first(images, prompts, right, count)
    assert np.array_equal(chosen, choices(images, prompts))
    return first


def test_first_ones_agree_with_choices_and_break_ties_as_they_do() -> None:
    generator = np.random.default_rng(0)
    images, prompts = generator.normal(size=(50, 8)), generator.normal(size=(12, 8))
    chosen = choices(images, prompts)
    right = generator.integers(0, 12, 50)
    assert (first_ones(images, prompts, right, 1) == (chosen == right)).all()
    assert first_ones(images, prompts, right, 12).all()
    cosines = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        prompts / np.linalg.norm(prompts, axis=1, keepdims=True)
    ).T
    ranks = (np.argsort(-cosines, axis=1) == right[:, None]).argmax(axis=1)
    assert (first_ones(images, prompts, right, 5) == (ranks < 5)).all()
    same = np.ones((3, 4))  # all prompts alike: the first class wins
    assert first_ones(same, np.ones((6, 4)), np.array([0, 4, 5]), 5).tolist() == [True, True, False]
    images[0] = np.nan
    assert not first_ones(images, prompts, right, 12)[0]
