# SPDX-License-Identifier: Apache-2.0
"""From samples of an eye tracker to fixations: recordings made by the test."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.perception.eye_samples import fixations_of_samples

SACCADE = 8  # samples in which the eye moves, 33 ms


def recorded(*stays: tuple[float, float, int], jitter: float = 0.3) -> NDArray[np.float64]:
    """Samples of an eye that stays at each (x, y) for so many samples; in between it moves with a bell-shaped speed."""
    rng = np.random.default_rng(0)
    way = (1 - np.cos(np.pi * np.arange(1, SACCADE) / SACCADE)) / 2
    parts: list[NDArray[np.float64]] = []
    for number, (x, y, samples) in enumerate(stays):
        here = np.array([x, y])
        if number:
            before = np.array(stays[number - 1][:2])
            parts.append(before + way[:, None] * (here - before))
        parts.append(here + rng.normal(0, jitter, (samples, 2)))
    return np.concatenate(parts)


def test_each_stay_is_a_fixation_at_its_median() -> None:
    stays = ((512, 384, 60), (200, 150, 70), (800, 600, 90), (430, 610, 50))
    found = fixations_of_samples(recorded(*stays))
    assert found.shape == (4, 2)
    assert found == pytest.approx(np.array(stays)[:, :2], abs=2)


def test_the_first_fixation_need_not_be_long_and_a_short_one_belongs_to_the_saccades_around_it() -> None:
    assert len(fixations_of_samples(recorded((512, 384, 20), (200, 150, 60)))) == 2
    # 5 samples at the second place: too short to be one
    assert len(fixations_of_samples(recorded((512, 384, 60), (200, 150, 5), (800, 600, 60)))) == 2


def test_a_short_end_belongs_to_the_last_saccade() -> None:
    assert len(fixations_of_samples(recorded((512, 384, 60), (200, 150, 60), (800, 600, 4)))) == 2


def test_a_blink_is_a_fixation_outside_the_image() -> None:
    found = fixations_of_samples(recorded((512, 384, 60), (-1024, -768, 40), (300, 200, 60)))
    assert found[1] == pytest.approx([-1024, -768], abs=2)


def test_without_a_saccade_there_is_one_fixation() -> None:
    slow = np.column_stack([np.linspace(100, 140, 300), np.full(300, 50.0)])
    assert fixations_of_samples(slow) == pytest.approx(np.array([[120, 50]]), abs=0.1)


@pytest.mark.parametrize("samples", range(1, 9))
def test_short_recordings(samples: int) -> None:
    assert fixations_of_samples(np.full((samples, 2), 7.0)) == pytest.approx(np.array([[7.0, 7.0]]))


def test_nothing_recorded_is_no_fixation() -> None:
    assert fixations_of_samples(np.zeros((0, 2))).shape == (0, 2)
    assert len(fixations_of_samples(np.full((40, 2), np.nan))) == 0


def test_further_columns_are_ignored() -> None:
    samples = recorded((512, 384, 60), (200, 150, 70))
    more = np.column_stack([samples, np.zeros(len(samples))])
    assert np.array_equal(fixations_of_samples(more), fixations_of_samples(samples))


def made_up(seed: int) -> NDArray[np.float64]:
    """A recording of eight stays of 3 to 99 samples, more or less steady."""
    rng = np.random.default_rng(seed)
    place, parts = rng.uniform(100, 900, 2), []
    way = (1 - np.cos(np.pi * np.arange(1, 8) / 8))[:, None] / 2
    for _ in range(8):
        parts.append(place + rng.normal(0, rng.choice([0.3, 1, 3]), (int(rng.integers(3, 100)), 2)))
        goal = rng.uniform(0, 1000, 2)
        parts.append(place + way * (goal - place))
        place = goal
    return np.concatenate(parts)


def test_the_authors_own_code_finds_the_same_fixations() -> None:
    """Numbers of fixations, and their mean coordinate, from ``checkFixations.m`` transcribed line by line elsewhere."""
    found = [fixations_of_samples(made_up(seed)) for seed in range(20)]
    assert [len(of) for of in found] == [9, 10, 8, 5, 5, 5, 8, 6, 8, 7, 8, 6, 9, 7, 8, 8, 7, 6, 9, 7]
    assert np.mean([of.mean() for of in found]) == pytest.approx(494.893909, abs=1e-5)
