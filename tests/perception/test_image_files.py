# SPDX-License-Identifier: Apache-2.0
"""Image files of any mode become upright 8-bit RGB, or are refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clip_align.data.decode import decode
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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white_as_in_training(mode: str, tmp_path: Path) -> None:
    """What is not seen does not count: the colours below differ, the images look alike."""
    made = []
    for below in ((250, 10, 10), (0, 0, 0)):
        image = Image.new("RGBA", (6, 4), (*below, 0))
        image.paste((10, 20, 30, 255), (0, 0, 3, 4))
        image.quantize().save(tmp_path / "x.png") if mode == "P" else image.convert(mode).save(tmp_path / "x.png")
        made.append(read_rgb(tmp_path / "x.png"))
        assert np.array_equal(made[-1], decode((tmp_path / "x.png").read_bytes()).permute(1, 2, 0).numpy())
    assert np.array_equal(*made)
    assert (made[0][:, 3:] == 255).all()
    assert (made[0][:, :3] < 40).all()


def test_half_transparent_by_hand(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 100, 255, 51)).save(tmp_path / "x.png")  # a fifth of it, on 255
    assert np.abs(read_rgb(tmp_path / "x.png").astype(int) - (204, 224, 255)).max() <= 1


def test_large_text_is_no_reason_and_orientation_stays(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * (3 << 20), zip=True)
    image.save(tmp_path / "x.png", exif=exif, pnginfo=text)
    assert read_rgb(tmp_path / "x.png").shape == (6, 4, 3)
    assert size_of(tmp_path / "x.png") == (6, 4)


def test_whatever_a_decoder_raises_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    profile = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
    path.write_bytes(data[:-12] + profile + data[-12:])
    with pytest.raises(OSError, match=rf"^{path} cannot be decoded \(IndexError: "):
        read_rgb(path)
