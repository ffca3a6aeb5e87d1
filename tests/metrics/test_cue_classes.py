# SPDX-License-Identifier: Apache-2.0
"""Texture bias class by class, and its interval where all decisions are for one cue."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.metrics.accuracy import wilson
from clip_align.metrics.cue_classes import class_mean_bias

CLASSES = 16


def cues(shapes: int, per_class: int = 30) -> list[NDArray[np.int64]]:
    """Shape, texture and exemplar of each cue of images without agreeing cues."""
    shape = np.repeat(np.arange(shapes), per_class)
    number = np.tile(np.arange(per_class), shapes)
    texture = (shape + 1 + number % (CLASSES - 1)) % CLASSES
    return [shape, texture, shape * 10 + number % 10, texture * 3 + number % 3]


@pytest.mark.parametrize("follows", ["shape", "texture"])
@pytest.mark.parametrize("clustered", [False, True])
def test_a_class_whose_decisions_are_all_for_one_cue_has_wilsons_interval(follows: str, clustered: bool) -> None:
    shape, texture, *exemplars = cues(1)
    choice = shape if follows == "shape" else texture
    found = class_mean_bias(choice, shape, texture, CLASSES, exemplars if clustered else ())
    value = float(follows == "texture")
    assert (found.value, found.low, found.high) == (value, *wilson(30 * int(value), 30))
    assert found.high - found.low == pytest.approx(0.1135, abs=5e-4)  # type: ignore[operator]


def test_no_decision_for_either_cue_counts_neither_way() -> None:
    shape, texture, *_ = cues(1)
    choice = texture.copy()
    choice[:20] = -1
    found = class_mean_bias(choice, shape, texture, CLASSES)
    assert (found.value, found.low, found.high) == (1.0, *wilson(10, 10))


def test_classes_that_each_follow_one_cue_entirely_have_an_interval_around_their_mean() -> None:
    shape, texture, *exemplars = cues(7)
    choice = np.where(shape < 2, shape, texture)  # 5 of 7 classes follow the texture
    found = class_mean_bias(choice, shape, texture, CLASSES, exemplars)
    assert found.value == pytest.approx(5 / 7)
    assert found.low is not None
    assert found.high is not None
    assert (found.low, found.high) == wilson(150, 210)
    assert found.low < 5 / 7 < found.high


def test_a_class_with_decisions_for_both_cues_keeps_its_jackknife() -> None:
    shape, texture, *exemplars = cues(1)
    choice = np.where(np.arange(30) % 3 == 0, shape, texture)
    found = class_mean_bias(choice, shape, texture, CLASSES, exemplars)
    assert found.value == pytest.approx(20 / 30)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 20 / 30 < found.high
    assert (found.low, found.high) != wilson(20, 30)
