# SPDX-License-Identifier: Apache-2.0
"""The published map of 1,000 ImageNet classes to 16, and the rule of the mean probability."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.open_clip_prompts import imagenet_class_names, imagenet_templates
from clip_align.perception.sixteen_classes import (
    CATEGORIES,
    IMAGENET_INDICES,
    category_numbers,
    decisions_by_mean_probability,
)

SIZES = dict(zip(CATEGORIES, (1, 4, 2, 49, 5, 7, 3, 6, 4, 3, 109, 2, 2, 1, 1, 8), strict=True))


def test_the_published_lists() -> None:
    assert {name: len(indices) for name, indices in IMAGENET_INDICES.items()} == SIZES
    every = [i for indices in IMAGENET_INDICES.values() for i in indices]
    assert len(every) == len(set(every)) == 207
    assert tuple(sorted(CATEGORIES)) == CATEGORIES
    names = imagenet_class_names()
    for category, first in (("airplane", "airliner"), ("knife", "cleaver"), ("oven", "rotisserie")):
        (index,) = IMAGENET_INDICES[category]
        assert names[index] == first
    assert "cougar" in names[IMAGENET_INDICES["cat"][-1]]
    assert names[IMAGENET_INDICES["truck"][2]] == "minivan"


def test_templates_and_names_are_read_without_open_clip() -> None:
    assert len(imagenet_templates()) == len(set(imagenet_templates())) == 80
    assert all(template.count("{}") == 1 for template in imagenet_templates())
    assert imagenet_templates()[0] == "a bad photo of a {}."
    assert len(imagenet_class_names()) == 1000
    assert len(set(imagenet_class_names())) == 998  # missile and sunglasses name two classes each


def test_numbers_of_names() -> None:
    assert category_numbers(["truck", "airplane", "na", "zebra", "", "bear"]).tolist() == [15, 0, -1, -1, -1, 1]


def test_the_mean_and_not_the_sum_decides() -> None:
    """109 dogs of .004 each make a sum of .436 and a mean of .004; one knife of .01 has the larger mean."""
    probabilities = np.full(1000, 1e-9)
    probabilities[list(IMAGENET_INDICES["dog"])] = 0.004
    probabilities[499] = 0.01
    decided = decisions_by_mean_probability(np.log(probabilities)[None])
    assert CATEGORIES[decided[0]] == "knife"


def test_the_mean_is_of_probabilities_and_not_of_logits() -> None:
    logits = np.zeros((1, 1000))
    logits[0, [281, 282]] = 5.0, -100.0  # one cat is certain, another impossible
    assert CATEGORIES[decisions_by_mean_probability(logits)[0]] == "cat"
    assert logits[0, list(IMAGENET_INDICES["cat"])].mean() < 0  # so the mean of logits would not choose it


def test_candidates_ties_and_no_decision() -> None:
    logits = np.zeros((4, 1000))
    logits[0, 404] = 3.0
    logits[2] = np.nan
    logits[3, [404, 766]] = 1e4  # far above what exp() of it could hold; a tie of airplane and oven
    assert decisions_by_mean_probability(logits).tolist() == [0, -1, -1, 0]
    assert decisions_by_mean_probability(logits, [14, 5]).tolist()[3] == 14
    with pytest.raises(ValueError, match=r"are \[N, 1000\], got \(2, 12\)"):
        decisions_by_mean_probability(np.zeros((2, 12)))


def test_constant_factors_change_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 1000))
    assert np.array_equal(decisions_by_mean_probability(logits), decisions_by_mean_probability(logits + 7.5))
