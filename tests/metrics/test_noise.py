# SPDX-License-Identifier: Apache-2.0
"""Noise drops: by hand, their intervals' width and coverage, and where they are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clip_align.metrics import noise
from clip_align.metrics.accuracy import accuracy

RIGHT = np.arange(256) % 16


def decisions(clean: int, noisy: int, n: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``clean`` right answers, of which ``noisy`` stay right."""
    right = np.arange(n) % 16
    wrong = (right + 1) % 16
    return *(np.where(np.arange(n) < k, right, wrong) for k in (clean, noisy)), right


def observer(generator: np.random.Generator, c: float, n: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knows a fraction of the images, loses half of it by noise, guesses at the rest; c: accuracy without noise."""
    right = np.arange(n) % 16
    known = generator.random(n) < (c - 1 / 16) / (1 - 1 / 16)
    kept = known & (generator.random(n) < 0.5)
    guess, other = generator.integers(0, 16, size=(2, n))
    clean = np.where(known, right, guess)
    return clean, np.where(known & ~kept, other, clean), right


def test_by_hand() -> None:
    data = decisions(200, 100)
    c, n = 200 / 256, 100 / 256
    assert noise.drop(*data).value == pytest.approx(c - n, abs=1e-15)
    assert noise.relative_drop(*data, classes=16).value == pytest.approx((c - n) / c, abs=1e-15)
    assert noise.corrected_drop(*data, classes=16).value == pytest.approx((c - n) / (c - 1 / 16), abs=1e-15)
    assert noise.drop(data[1], data[0], data[2]).value == pytest.approx(n - c, abs=1e-15)  # a gain is negative


def test_interval_is_the_jackknife_over_images() -> None:
    clean, noisy, right = observer(np.random.default_rng(0), 0.5)
    c, n = clean == right, noisy == right
    left = [((np.delete(c, i).mean() - np.delete(n, i).mean()) / (np.delete(c, i).mean() - 1 / 16)) for i in range(256)]
    half = 1.9693 * math.sqrt(255 / 256 * sum((v - np.mean(left)) ** 2 for v in left))  # t(255)
    estimate = noise.corrected_drop(clean, noisy, right, classes=16)
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half), abs=1e-5)


@pytest.mark.parametrize(("c", "relative", "width"), [(0.3, 0.40, 0.30), (0.5, 0.44, 0.21), (0.8, 0.46, 0.16)])
def test_half_of_the_information_lost(c: float, relative: float, width: float) -> None:
    """Truth: corrected drop .50 whatever c; the relative one moves with c alone. Widths and coverage for n = 256."""
    generator = np.random.default_rng(1)
    sets = [observer(generator, c) for _ in range(300)]
    corrected = [noise.corrected_drop(*s, classes=16) for s in sets]
    fraction = [e for e in corrected if e.value is not None]
    assert len(fraction) >= 0.97 * len(sets)
    assert np.mean([e.value for e in fraction]) == pytest.approx(0.5, abs=0.015)
    assert np.mean([e.high - e.low for e in fraction]) == pytest.approx(width, abs=0.012)
    assert np.mean([e.low <= 0.5 <= e.high for e in fraction]) == pytest.approx(0.95, abs=0.04)  # 3 standard errors
    values = [noise.relative_drop(*s, classes=16).value for s in sets]
    assert np.mean([v for v in values if v is not None]) == pytest.approx(relative, abs=0.015)


def test_wide_intervals_are_undefined() -> None:
    """At c = .12 the width is about 1; corrected and relative drop wait together, the plain one does not."""
    generator = np.random.default_rng(2)
    waiting = 0
    for data in (observer(generator, 0.12) for _ in range(50)):
        corrected, relative = noise.corrected_drop(*data, classes=16), noise.relative_drop(*data, classes=16)
        assert corrected.reason == relative.reason
        waiting += str(corrected.reason).startswith(("its 95 % interval is ", "accuracy hardly above chance (."))
        assert noise.drop(*data).value is not None
    assert waiting > 40


def test_hardly_above_chance_is_a_reason_in_words() -> None:
    reason = "accuracy hardly above chance (.066 against .0625)"
    assert noise.corrected_drop(*decisions(17, 10), classes=16).reason == reason
    assert noise.relative_drop(*decisions(17, 10), classes=16).reason == reason
    few = noise.corrected_drop(*decisions(20, 10), classes=16).reason  # narrower, but chance is in c's interval
    assert few == "accuracy hardly above chance (.078 against .0625)"


def test_not_above_chance_is_undefined() -> None:
    data = decisions(16, 10)
    reason = "accuracy without noise, .062, is not above chance (.0625)"
    assert noise.corrected_drop(*data, classes=16).reason == reason
    assert noise.relative_drop(*data, classes=16).reason == reason
    assert noise.relative_drop(*decisions(0, 0), classes=16).value is None


def test_without_decisions() -> None:
    none = np.full(256, -1)
    reason = "no decisions: the embeddings of all 256 images are equal or not finite"
    for clean, noisy in ((none, RIGHT), (RIGHT, none)):
        assert noise.drop(clean, noisy, RIGHT).reason == reason
        assert noise.corrected_drop(clean, noisy, RIGHT, classes=16).reason == reason
        assert noise.relative_drop(clean, noisy, RIGHT, classes=16).reason == reason
    assert noise.drop([], [], []).reason == "no images"
    assert noise.drop([1], [1], [1]).low is None  # one image: a value, no interval
    assert noise.corrected_drop([1], [1], [1], classes=16).value is None
    with pytest.raises(ValueError, match="one length"):
        noise.drop(RIGHT, RIGHT[1:], RIGHT)


@pytest.mark.parametrize(("clean", "noisy"), [(256, 256), (256, 0), (200, 200)])
def test_extremes_keep_a_width(clean: int, noisy: int) -> None:
    estimate = noise.corrected_drop(*decisions(clean, noisy), classes=16)
    assert estimate.value == pytest.approx((clean - noisy) / 256 / (clean / 256 - 1 / 16))
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= estimate.value <= estimate.high
    assert 0.005 < estimate.high - estimate.low < 0.06


def test_limit() -> None:
    assert noise.relative_drop_limit(0.12, 16) == pytest.approx(0.48, abs=0.005)
    assert noise.relative_drop_limit(0.80, 16) == pytest.approx(0.92, abs=0.005)
    assert noise.relative_drop_limit(1 / 16, 16) == 0
    assert math.isnan(noise.relative_drop_limit(0.01, 16))
    assert math.isnan(noise.relative_drop_limit(math.nan, 16))


def test_order_does_not_matter_and_equals_accuracies() -> None:
    generator = np.random.default_rng(4)
    for _ in range(20):
        clean, noisy, right = observer(generator, 0.6)
        order = generator.permutation(256)
        one, mixed = (
            noise.corrected_drop(*d, classes=16)
            for d in ((clean, noisy, right), (clean[order], noisy[order], right[order]))
        )
        assert one == mixed
        c, n = accuracy(clean, right).value, accuracy(noisy, right).value
        assert c is not None
        assert n is not None
        assert one.value == pytest.approx((c - n) / (c - 1 / 16), abs=1e-12)
