# SPDX-License-Identifier: Apache-2.0
"""Color spaces against known colors and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import color

from clip_align.perception.color_spaces import (
    SPACES,
    ColorDistance,
    decoded,
    encoded,
    lab,
    linear_rgb,
    luv,
    oklab,
    xyz,
    xyz_from_chromaticity,
)

RGB = np.random.default_rng(0).random((50, 3))


def test_srgb_is_encoded_and_decoded_by_the_standard() -> None:
    assert decoded([0.04045, 0.5, 1]) == pytest.approx([0.04045 / 12.92, 0.21404114, 1])
    assert encoded(decoded(RGB)) == pytest.approx(RGB, abs=1e-12)
    assert encoded(-RGB) == pytest.approx(-encoded(RGB), abs=0)


def test_lab_and_luv_are_those_of_scikit_image() -> None:
    assert lab(xyz(decoded(RGB))) == pytest.approx(color.rgb2lab(RGB), abs=0.05)  # its matrix has more digits
    assert luv(xyz(decoded(RGB))) == pytest.approx(color.rgb2luv(RGB), abs=0.3)
    white = np.ones(3)
    assert lab(xyz(white)) == pytest.approx([100, 0, 0], abs=1e-9)
    assert oklab(white) == pytest.approx([1, 0, 0], abs=1e-4)
    assert np.isnan(luv(np.zeros(3))[1:]).all()


def test_xyz_and_chromaticity_are_inverse_to_each_other() -> None:
    assert linear_rgb(xyz(RGB)) == pytest.approx(RGB, abs=1e-12)
    found = xyz(RGB)
    whole = found.sum(axis=1)
    again = xyz_from_chromaticity(found[:, 0] / whole, found[:, 1] / whole, 0.3)
    assert again == pytest.approx(found * (0.3 / found[:, 1:2]), abs=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_a_distance_is_zero_for_equal_images_and_takes_bytes_and_floats_alike(space: str) -> None:
    distance = ColorDistance(space)
    a, b = np.random.default_rng(1).integers(1, 256, (2, 6, 5, 3), dtype=np.uint8)
    as_float = [(x / 255).astype(np.float32) for x in (a, b)]
    assert distance(a, a) == 0
    assert distance(a, b) == pytest.approx(distance(*as_float), rel=1e-5)
    assert distance(a, b) == pytest.approx(distance(b, a))


def test_the_distance_in_srgb_is_the_rmse() -> None:
    a, b = np.random.default_rng(1).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    assert ColorDistance()(a, b) == pytest.approx(np.sqrt(np.mean((a / 255 - b / 255) ** 2)))
