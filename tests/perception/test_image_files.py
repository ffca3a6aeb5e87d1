# SPDX-License-Identifier: Apache-2.0
"""Image files of any mode become upright 8-bit RGB, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.perception.image_files import read_rgb, size_of


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_modes(mode: str, tmp_path: Path) -> None:
    Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(tmp_path / "x.png")
    made = read_rgb(tmp_path / "x.png")
    assert made.shape == (5, 7, 3)
    assert made.dtype == np.uint8
    assert (made == 255).all()
    assert size_of(tmp_path / "x.png") == (5, 7)


def test_bmp_as_the_databases_have_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i01_01_1.BMP")
    assert (read_rgb(tmp_path / "i01_01_1.BMP") == pixels).all()


def test_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.png", exif=exif)
    assert read_rgb(tmp_path / "x.png").shape == (6, 4, 3)
    assert size_of(tmp_path / "x.png") == (6, 4)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "x.png")
    for function in (read_rgb, size_of):
        with pytest.raises(ValueError, match="8 bits"):
            function(tmp_path / "x.png")
