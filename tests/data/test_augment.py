# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from clip_align.data.augment import DRAWS, centre_square, random_box, resized
from clip_align.data.sampling_plan import uniforms


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def test_resizing_is_pillows_within_a_grey_level() -> None:
    image = noise(64, 64)
    for size in (32, 64, 100):
        expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size, size), Image.Resampling.BICUBIC)
        difference = resized(image, (0, 0, 64, 64), size).permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 400), (400, 8), (1, 1), (5, 5), (31, 64)])
def test_the_square_in_the_middle(height: int, width: int) -> None:
    image = noise(height, width)
    square = centre_square(image, 16)
    assert square.shape == (3, 16, 16)
    assert square.dtype == torch.uint8
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    assert torch.equal(square, resized(image[:, top : top + side, left : left + side], (0, 0, side, side), 16))


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(16, 16)
    assert torch.equal(centre_square(image, 16), image)


def test_boxes_have_the_configured_area_and_shape() -> None:
    draws = uniforms(np.arange(2000), DRAWS, 0)
    boxes = np.array([random_box(200, 200, (0.3, 0.8), d) for d in draws])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 200).all()
    assert (left + width <= 200).all()
    area, aspect = height * width / 200**2, width / height
    assert 0.29 < area.min() < 0.32
    assert 0.75 < area.max() < 0.81  # large ones of another shape do not fit
    assert 0.74 < aspect.min() < 0.78
    assert 1.29 < aspect.max() < 1.35
    assert abs(np.log(aspect).mean()) < 0.02
    assert top.max() > 50


def test_a_strip_gets_the_largest_allowed_box_in_its_middle() -> None:
    draws = np.full(DRAWS, 0.5)
    assert random_box(8, 400, (0.9, 1.0), draws) == (0, 194, 8, 11)
    assert random_box(400, 8, (0.9, 1.0), draws) == (194, 0, 11, 8)
    assert random_box(1, 1, (0.9, 1.0), draws) == (0, 0, 1, 1)
