# SPDX-License-Identifier: Apache-2.0
"""Corruptions of images: known answers, the published scripts' filters, levels."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.perception.corruptions import BACKGROUND, CORRUPTIONS, CorruptionName, corrupted, hundredths
from clip_align.testing.random_images import random_image

IMAGE = random_image("a", 48, 40)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_the_same_every_time_and_stronger_at_stronger_levels(name: CorruptionName) -> None:
    smooth = np.linspace(60, 180, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    checks = (np.indices((32, 32)).sum(axis=0) % 2 * 60)[..., None].astype(np.uint8)
    image = smooth + checks
    for size in (32, 224):
        levels = CORRUPTIONS[name].levels(size)
        assert len(levels) == 5
        assert list(levels) == sorted(levels, reverse=not CORRUPTIONS[name].rising)
        changed = [corrupted(image, name, level, "x") for level in levels]
        assert all(c.dtype == np.uint8 and c.shape == image.shape for c in changed)
        assert np.array_equal(changed[0], corrupted(image, name, levels[0], "x"))
        # of a high-passed image the contrast falls, of all others the distance from the original rises
        if name == "high_pass":
            spread = [c.astype(float).std() for c in changed]
            assert spread == sorted(spread, reverse=True)
        else:
            errors = [np.square(c.astype(float) - image).mean() for c in changed]
            assert errors == sorted(errors)


@pytest.mark.parametrize("name", ["gaussian_noise", "uniform_noise"])
def test_noise_has_its_standard_deviation(name: CorruptionName) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    left = corrupted(grey, name, 0.1, "x", "round").astype(float) - 128
    assert left.std() / 255 == pytest.approx(0.1, rel=0.01)
    assert left.mean() == pytest.approx(0, abs=0.3)
    largest = np.abs(left).max() / 255
    assert largest == pytest.approx(np.sqrt(3) * 0.1, abs=0.01) if name == "uniform_noise" else largest > 0.3


def test_blur_is_scikit_images() -> None:
    filters = pytest.importorskip("skimage.filters")
    for sigma in (0.4, 1.0, 6.0):
        expected = filters.gaussian(IMAGE / 255.0, sigma=sigma, channel_axis=2)
        assert np.array_equal(corrupted(IMAGE, "gaussian_blur", sigma, ""), np.uint8(np.clip(expected, 0, 1) * 255))


def test_filters_are_those_of_geirhos() -> None:
    color = pytest.importorskip("skimage.color")
    from scipy.ndimage import gaussian_filter

    grey = color.rgb2gray(IMAGE)
    low = gaussian_filter(grey, 2.0, mode="constant", cval=BACKGROUND)
    found = corrupted(IMAGE, "low_pass", 2.0, "", "round")
    assert np.array_equal(found, np.rint(np.clip(low, 0, 1) * 255).astype(np.uint8)[..., None].repeat(3, axis=2))
    high = corrupted(IMAGE, "high_pass", 2.0, "", "round")
    rest = grey - low
    expected = np.clip(rest + BACKGROUND - rest.mean(), 0, 1)
    assert np.array_equal(high[..., 0], np.rint(expected * 255).astype(np.uint8))
    assert np.array_equal(high[..., 0], high[..., 2])


def test_contrast_keeps_the_channels_means() -> None:
    changed = corrupted(IMAGE, "contrast", 0.15, "", "round").astype(float)
    assert changed.mean(axis=(0, 1)) == pytest.approx(IMAGE.mean(axis=(0, 1)), abs=0.5)
    assert changed.std() == pytest.approx(0.15 * IMAGE.std(), rel=0.1)


def test_published_levels() -> None:
    assert CORRUPTIONS["gaussian_noise"].levels(32) == (0.04, 0.06, 0.08, 0.09, 0.10)
    assert CORRUPTIONS["gaussian_noise"].levels(224) == (0.08, 0.12, 0.18, 0.26, 0.38)
    assert CORRUPTIONS["gaussian_blur"].levels(32) == (0.4, 0.6, 0.7, 0.8, 1)
    assert CORRUPTIONS["contrast"].levels(32) == (0.75, 0.5, 0.4, 0.3, 0.15)
    assert [hundredths(level) for level in (0.04, 0.4, 1.0, 6.0)] == ["04", "40", "100", "600"]
