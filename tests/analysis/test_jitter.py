# SPDX-License-Identifier: Apache-2.0
"""Jitter's size and correlation: of simulated curves, of averages that overlap, at unequal spacing."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.analysis.jitter import jitter, overlap
from clip_align.analysis.simulated_courses import log_scale

EVALUATIONS = 36


def _wander(generator: np.random.Generator, memory: float) -> np.ndarray:
    out = generator.normal(size=EVALUATIONS)
    for t in range(1, EVALUATIONS):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * out[t]
    return out


def test_overlap_of_two_averages() -> None:
    """60 of the steps 41 to 100 and 81 to 140 are 20 in common, of 60 and 60."""
    found = overlap([0, 100, 140, 400], [None, 60.0, 60.0, 40.0])
    assert found[1, 2] == pytest.approx(20 / 60)
    assert found[2, 3] == found[0, 1] == 0
    assert np.diag(found).tolist() == [1.0] * 4
    assert overlap([0, 4, 8], [10.0, 10.0, 10.0])[1, 2] == pytest.approx(4 / np.sqrt(4 * 8))  # as long as the run


def test_what_an_average_carries_of_the_one_before_is_what_they_have_in_common() -> None:
    """Averages of 40, 40 and 90 steps; the third has .3 of the second, which has .2 of the first."""
    found = overlap([0, 100, 140, 230], [1.0, 40.0, 40.0, 90.0], [None, 0.0, 0.2, 0.3])
    assert found[1, 2] == pytest.approx(0.2)
    assert found[2, 3] == pytest.approx(0.3 * np.sqrt(90 / 40))
    assert found[3, 1] == pytest.approx(0.2 * 0.3 * np.sqrt(90 / 40))
    assert np.linalg.eigvalsh(found[1:, 1:]).min() > 0


def test_raw_weights_have_jitter_of_their_own() -> None:
    assert overlap([0, 10, 20], [None] * 3).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("course", ["flat", "hump", "sharp peak"])
def test_size_of_white_jitter_whatever_the_course(course: str) -> None:
    t = np.linspace(0, 1, EVALUATIONS)
    truth = {"flat": 0 * t, "hump": 0.1 * np.sin(np.pi * t), "sharp peak": 0.05 * (abs(t - 0.5) < 0.02)}[course]
    generator = np.random.default_rng(0)
    curves = [truth + 0.01 * generator.normal(size=EVALUATIONS) for _ in range(60)]
    sizes = [jitter(curve, np.eye(EVALUATIONS)).size for curve in curves]
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(0.01, rel=0.25 if course == "sharp peak" else 0.08)


def test_size_of_averages_that_overlap_is_not_missed() -> None:
    """Third differences of averages over three spacings show a third of the jitter that they have."""
    generator = np.random.default_rng(1)
    steps = np.arange(EVALUATIONS) * 40
    shared = overlap(list(steps), [120.0] * EVALUATIONS)
    sizes, blind = [], []
    for _ in range(12):
        raw = generator.normal(size=EVALUATIONS + 2)
        curve = 0.01 * np.convolve(raw, np.full(3, 1 / np.sqrt(3)), mode="valid")
        curve[0] = 0.0
        sizes.append(jitter(curve, shared).size)
        blind.append(jitter(curve, np.eye(EVALUATIONS)).size)
    assert np.mean(sizes) == pytest.approx(0.01, rel=0.15)
    assert np.mean(blind) < 0.006


def test_lag_1_correlation_is_found_and_used_where_it_is_established() -> None:
    generator = np.random.default_rng(2)
    found = {m: [jitter(_wander(generator, m), np.eye(EVALUATIONS)) for _ in range(60)] for m in (0.0, 0.7)}
    assert np.median([j.lag_1 for j in found[0.0]]) <= 0.1
    assert 0.5 <= np.median([j.lag_1 for j in found[0.7]]) <= 0.9
    used = {memory: np.mean([j.used > 0 for j in some]) for memory, some in found.items()}
    assert used[0.0] <= 0.15
    assert used[0.7] >= 0.4
    assert max(j.used for j in found[0.7]) <= 0.6
    widest = max(found[0.7], key=lambda j: j.used)
    assert widest.covariance[3, 4] == pytest.approx(widest.used * widest.size**2)


def test_overlapping_and_correlated_jitter_has_a_covariance() -> None:
    generator = np.random.default_rng(3)
    shared = overlap([10 * t for t in range(EVALUATIONS)], [25.0] * EVALUATIONS)
    for memory in (0.0, 0.9):
        found = jitter(_wander(generator, memory), shared)
        assert np.linalg.eigvalsh(found.covariance[1:, 1:]).min() > -1e-12
        assert found.covariance[0].tolist() == [0.0] * EVALUATIONS


def test_a_curve_without_noise_has_no_jitter() -> None:
    t = np.linspace(0, 1, EVALUATIONS)
    for curve in (np.full(EVALUATIONS, 0.5), t**2):
        found = jitter(curve, np.eye(EVALUATIONS))
        assert found.size == pytest.approx(0.0, abs=1e-12)
        assert np.isfinite(found.covariance).all()


@pytest.mark.parametrize("name", ["rise, then plateau, log scale", "peak in the first twentieth, then -.05, log scale"])
def test_events_on_a_log_scale_do_not_spoil_the_jitter_of_the_regular_ones(name: str) -> None:
    """The early course is steep from event to event, and its bends are no jitter of the later ones."""
    steps, kinds = log_scale()
    truth = next(kind.truth for kind in kinds if kind.name == name)
    generator = np.random.default_rng(4)
    found = [jitter(truth + 0.0045 * generator.normal(size=len(steps)), np.eye(len(steps)), steps) for _ in range(50)]
    assert np.mean([j.size for j in found]) == pytest.approx(0.0045, rel=0.12)
    assert np.mean([j.used > 0 for j in found]) <= 0.2
    assert all(j.covariance[1, 1] >= j.covariance[-1, -1] == pytest.approx(j.size**2) for j in found)


def test_early_events_with_more_jitter_keep_it() -> None:
    steps, _ = log_scale()
    early = np.array(steps) < 40
    generator = np.random.default_rng(5)
    found = [
        jitter(0.0045 * generator.normal(size=len(steps)) * (1 + 3 * early), np.eye(len(steps)), steps)
        for _ in range(50)
    ]
    assert np.mean([j.size for j in found]) == pytest.approx(0.0045, rel=0.12)
    assert np.sqrt(np.mean([j.covariance[2, 2] for j in found])) >= 2.5 * 0.0045
