# SPDX-License-Identifier: Apache-2.0
"""The 30 spectral patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clip_align.perception.photographs import DATA
from clip_align.perception.spectral_patches import BACKGROUND, patch, patches


def test_the_table_is_the_source(shared_data: Path) -> None:
    name = "spectral_patches.csv"
    assert (DATA / name).read_bytes() == (shared_data / "psychophysics" / name).read_bytes()


def test_wavelengths_are_30_equal_steps() -> None:
    of = patches()
    assert of.wavelength == pytest.approx(np.linspace(400, 700, 30), abs=1e-3)
    assert of.color.shape == (30, 3)
    assert of.color.dtype == np.uint8
    assert abs(of.wavelength[of.judd_vos.argmax()] - 555) < 10.4


def test_a_patch_is_the_authors_square_at_their_size_and_a_quarter_of_the_area_at_any_even_one() -> None:
    image = patch(256, (1, 2, 3))
    inside = (image == (1, 2, 3)).all(axis=2)
    assert np.flatnonzero(inside.any(axis=0)).tolist() == list(range(64, 192))
    assert np.flatnonzero(inside.any(axis=1)).tolist() == list(range(64, 192))
    assert (image[~inside] == BACKGROUND).all()
    for size in (16, 32, 224):
        assert (patch(size, (1, 2, 3)) == (1, 2, 3)).all(axis=2).mean() == 0.25
    assert (patch(7, None) == BACKGROUND).all()
