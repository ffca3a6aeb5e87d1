# SPDX-License-Identifier: Apache-2.0
"""PSNR against scikit-image, and the search for the strength that reaches one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from clip_align.perception.psnr import from_mean_square, psnr, reach, reach_whole, to_mean_square


def test_against_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-12)


def test_one_grey_value_everywhere_is_48_db() -> None:
    a = np.full((4, 4, 3), 7, dtype=np.uint8)
    assert psnr(a, a + 1) == pytest.approx(20 * math.log10(255))


def test_equal_images_have_no_finite_psnr() -> None:
    a = np.zeros((4, 4, 3), dtype=np.uint8)
    assert psnr(a, a) == math.inf


def test_mean_square_and_back() -> None:
    assert from_mean_square(to_mean_square(27.3)) == pytest.approx(27.3, abs=1e-12)


@pytest.mark.parametrize("start", [1e-3, 0.9, 1.0, 50.0, 1e4])
def test_reach_finds_the_strength_of_a_bent_curve(start: float) -> None:
    def curve(strength: float) -> float:
        return 40 - 20 * math.log10(strength + 0.1 * strength**2)

    assert curve(reach(curve, 27, start)) == pytest.approx(27, abs=0.01)


def test_reach_gets_over_a_stretch_without_error() -> None:
    def curve(strength: float) -> float:
        return math.inf if strength < 3 else 40 - 20 * math.log10(strength)

    assert curve(reach(curve, 20, 0.01)) == pytest.approx(20, abs=0.01)


def test_reach_takes_the_nearest_step_of_a_staircase() -> None:
    def stairs(strength: float) -> float:
        return 30.0 - 4 * round(math.log2(strength))

    assert stairs(reach(stairs, 21, 1.0)) == 22.0


def test_reach_needs_few_evaluations() -> None:
    calls: list[float] = []

    def curve(strength: float) -> float:
        calls.append(strength)
        return 48 - 19.5 * math.log10(strength)

    reach(curve, 24, 14.0)
    assert len(calls) <= 3


@pytest.mark.parametrize("target", [5.0, 12.0, 17.3, 40.0])
@pytest.mark.parametrize("start", [2, 30, 256])
def test_whole_number_nearest_to_the_target(target: float, start: int) -> None:
    def curve(number: int) -> float:
        return 10 + 2.2 * math.log2(number)

    best = min(range(2, 257), key=lambda n: abs(curve(n) - target))
    assert reach_whole(curve, target, start, 2, 256, tolerance_db=0.0) == best


def test_whole_numbers_on_a_jagged_curve_end() -> None:
    def jagged(number: int) -> float:
        return 10 + 2 * math.log2(number) + (number % 3) * 0.7

    found = reach_whole(jagged, 19, 40, 2, 256, tolerance_db=0.05)
    assert abs(jagged(found) - 19) < 1
