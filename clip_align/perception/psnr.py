# SPDX-License-Identifier: Apache-2.0
"""Peak signal-to-noise ratio on 8-bit images, and a search for the strength that reaches one.

Squared errors of 8-bit images are integers, so they are summed exactly: the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PEAK = 255.0  # largest value of 8 bits


def mean_square(difference: NDArray[np.float32]) -> float:
    """Mean of the squares of whole numbers [H, W, C], float32; exact while a row's sum is below 2**24."""
    rows = difference.reshape(difference.shape[0], -1)  # [H, W * C]
    return float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64)) / difference.size


def from_mean_square(error: float) -> float:
    """PSNR in dB of a mean squared error on 0..255; infinite for no error."""
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def to_mean_square(psnr_db: float) -> float:
    """Mean squared error on 0..255 of a PSNR in dB."""
    return float(PEAK**2 / 10 ** (psnr_db / 10))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR in dB of two 8-bit images, the error pooled over pixels and channels; infinite if equal."""
    return from_mean_square(mean_square(np.subtract(a, b, dtype=np.float32)))


def reach(
    psnr_at: Callable[[float], float],
    target_db: float,
    start: float,
    *,
    slope: float = -20 / math.log(10),  # of PSNR = const - 20 log10(strength)
    tolerance_db: float = 0.01,
    evaluations: int = 12,
) -> float:
    """The strength whose PSNR is ``target_db``, by secants on its logarithm.

    Args:
        psnr_at: PSNR in dB at a positive strength, falling as the strength rises.
        target_db: PSNR to reach.
        start: first guess of the strength, > 0.
        slope: dB per e-fold of strength for the first step (additive noise without clipping: -8.7).
        tolerance_db: the search ends within this distance of the target.
        evaluations: most calls of ``psnr_at``.

    Returns:
        The nearest strength tried, also where the tolerance is not met (a curve with steps). Strengths are rounded to
        six digits, so that the last bit of a logarithm, which differs among machines, does not decide.
    """
    strength, tried = _six_digits(start), dict[float, float]()
    while len(tried) < evaluations and strength not in tried:  # a strength tried before: no progress is left
        tried[strength] = psnr_at(strength)
        if abs(tried[strength] - target_db) <= tolerance_db:
            break
        strength = _six_digits(_next(tried, target_db, slope))
    return min(tried, key=lambda s: abs(tried[s] - target_db))


def reach_whole(
    psnr_at: Callable[[int], float], target_db: float, start: int, lowest: int, highest: int, tolerance_db: float
) -> int:
    """The whole number in [lowest, highest] whose PSNR is nearest to ``target_db`` of those tried.

    Args:
        psnr_at: PSNR in dB, on the whole rising with the number (colours of a palette), by about 1.8 dB a doubling.
        target_db: PSNR to reach.
        start: first guess, in [lowest, highest].
        lowest: smallest possible number, > 0.
        highest: largest possible number.
        tolerance_db: the search ends within this distance of the target.

    It also ends where no untried number lies between one too small and one too large.
    """
    tried: dict[int, float] = {}
    number = start
    while number not in tried:
        tried[number] = db = psnr_at(number)
        if abs(db - target_db) <= tolerance_db:
            break
        small = max((n for n, found in tried.items() if found < target_db), default=lowest - 1)
        large = min((n for n, found in tried.items() if found > target_db), default=highest + 1)
        if large - small < 2:
            break
        if small in tried and large in tried:
            # PSNR is nearly linear in the logarithm of the number
            fraction = (target_db - tried[small]) / (tried[large] - tried[small])
            number = round(small * (large / small) ** fraction)
        else:
            number = round(number * 2 ** ((target_db - db) / 1.8))  # 1.8 dB a doubling
        number = min(max(number, small + 1), large - 1)
    return min(tried, key=lambda n: abs(tried[n] - target_db))


def _next(tried: dict[float, float], target: float, slope: float) -> float:
    """Secant through the last two points, kept inside the bracket and within a factor of 16."""
    last, *before = reversed(tried)  # a dictionary keeps the order of trials
    if before and math.isfinite(tried[last] - tried[before[0]]) and tried[last] != tried[before[0]]:
        measured = (tried[last] - tried[before[0]]) / math.log(last / before[0])
        slope = measured if measured < 0 else slope  # where steps of the curve make it rise, the given one
    # an infinite PSNR: the image did not change yet, so go on by the largest step
    step = (target - tried[last]) / slope if math.isfinite(tried[last]) else math.inf
    guess = last * math.exp(min(max(step, -math.log(16)), math.log(16)))
    # outside the bracket of what is known, bisect it: secants leave it on a curve with steps
    too_weak = [s for s, db in tried.items() if db > target]
    too_strong = [s for s, db in tried.items() if db < target]
    if too_weak and too_strong and not max(too_weak) < guess < min(too_strong):
        guess = math.sqrt(max(too_weak) * min(too_strong))
    return guess


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
