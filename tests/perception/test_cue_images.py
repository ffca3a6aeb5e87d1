# SPDX-License-Identifier: Apache-2.0
"""Shuffled tiles and hybrids: what stays, what goes, and what gives the image again."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.perception.cue_images import high_and_low, low_pass, shuffled
from clip_align.testing.random_images import random_image


def tiles(image: np.ndarray, grid: int) -> list[bytes]:
    side = image.shape[0] // grid
    cuts = range(0, image.shape[0], side)
    return [image[y : y + side, x : x + side].tobytes() for y in cuts for x in cuts]


@pytest.mark.parametrize("grid", [2, 4, 8])
def test_the_tiles_stay_and_their_places_do_not(grid: int) -> None:
    image = random_image("a", 32, 32)
    made = shuffled(image, grid, "a")
    assert sorted(tiles(made, grid)) == sorted(tiles(image, grid))
    assert tiles(made, grid) != tiles(image, grid)
    assert np.array_equal(made, shuffled(image, grid, "a"))
    assert not np.array_equal(made, shuffled(image, grid, "b"))


def test_a_grid_of_two_is_never_the_image_itself() -> None:
    """One order of 24 leaves everything in place: of 200 seeds some would draw it."""
    image = random_image("a", 8, 8)
    assert not any(np.array_equal(shuffled(image, 2, str(seed)), image) for seed in range(200))
    assert np.array_equal(shuffled(image, 1, "a"), image)


def test_tiles_must_be_equal() -> None:
    with pytest.raises(ValueError, match="32 x 24 px has no grid of 5 x 5 equal tiles"):
        shuffled(random_image("a", 24, 32), 5, "a")


def test_a_wave_loses_half_at_the_cutoff_and_keeps_its_mean() -> None:
    """Cosines that mirroring continues: k half-cycles along a side are k/2 cycles an image."""
    n = 64
    for cycles, gain in ((2, 0.5 ** (1 / 4)), (4, 0.5), (8, 0.5**4)):
        wave = np.cos(np.pi * 2 * cycles * (np.arange(n) + 0.5) / n)
        image = np.repeat(np.round(128 + 100 * np.broadcast_to(wave, (n, n)))[..., None], 3, axis=2).astype(np.uint8)
        found = low_pass(image, 4.0)
        assert found.mean() == pytest.approx(image.mean(), abs=1e-9)
        assert np.dot(found[0, :, 0] - 128, wave) / np.dot(wave, wave) == pytest.approx(100 * gain, abs=0.5)


def test_opposite_borders_do_not_mix() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 200
    found = low_pass(image, 4.0)
    assert found[:, 0].max() < 10
    assert found[:, -1].min() > 190


def test_a_hybrid_of_an_image_with_itself_is_that_image() -> None:
    image, other = random_image("a", 32, 32), random_image("b", 32, 32)
    assert np.array_equal(high_and_low(image, image, 4.0), image)
    grey = np.full_like(image, 128)
    assert np.array_equal(high_and_low(image, grey, 4.0), np.clip(np.round(low_pass(image, 4.0)), 0, 255))
    mixed = high_and_low(image // 4 + 96, other // 4 + 96, 4.0)  # of low contrast: nothing is clipped
    assert np.abs(low_pass(mixed, 1.0) - low_pass(image // 4 + 96, 1.0)).mean() < 2
    with pytest.raises(ValueError, match="two images of one size"):
        high_and_low(image, other[:16], 4.0)
