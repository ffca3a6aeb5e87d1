# SPDX-License-Identifier: Apache-2.0
"""The device's arithmetic gives Pillow's bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from clip_align.evaluation.enlarge import _resized

SIZES = [(32, 32, 224, 224), (32, 32, 64, 64), (17, 29, 224, 224), (64, 48, 298, 224), (1, 1, 16, 16), (31, 31, 32, 32)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("sizes", SIZES)
def test_bytes_are_pillows_to_the_bit(sizes: tuple[int, int, int, int]) -> None:
    images = noise(*sizes[:2])
    target = (sizes[3], sizes[2])
    expected = np.stack([np.asarray(Image.fromarray(i).resize(target, Image.Resampling.BICUBIC)) for i in images])
    assert np.array_equal(_resized(torch.from_numpy(images), *sizes[2:]).numpy(), expected)


@pytest.mark.parametrize("sizes", SIZES)
def test_floats_are_pillows_to_the_last_digit(sizes: tuple[int, int, int, int]) -> None:
    images = (noise(*sizes[:2]) / 255).astype(np.float32)
    planes = [Image.fromarray(np.ascontiguousarray(images[0, :, :, c])) for c in range(3)]
    resized = [np.asarray(p.resize((sizes[3], sizes[2]), Image.Resampling.BICUBIC)) for p in planes]
    found = _resized(torch.from_numpy(images), *sizes[2:]).numpy()[0]
    assert np.abs(found - np.clip(np.stack(resized, axis=-1), 0, 1)).max() <= 1.2e-7


def test_what_fits_is_left_alone() -> None:
    images = torch.from_numpy(noise(32, 32))
    assert torch.equal(_resized(images, 32, 32), images)
