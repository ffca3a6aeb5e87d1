# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_align.data.bad_samples import BadSample
from clip_align.data.decode import decode, decoder_name

RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))  # [16, 16], dark to bright from left to right


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    return image.permute(1, 2, 0).numpy()


def noise(size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_ordinary_files_are_what_pillow_says(form: str, mode: str) -> None:
    data = encoded(noise((30, 20)).convert(mode), form)
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_gives_back_the_pixels_that_were_written(mode: str) -> None:
    image = noise((31, 17)).convert(mode)
    for level in (0, 1, 9):
        assert np.array_equal(pixels(encoded(image, compress_level=level)), np.asarray(image.convert("RGB")))


def test_one_wrong_bit_in_a_png_costs_that_sample_only() -> None:
    """In a process of its own: a decoder may end its process."""
    data = bytearray(encoded(noise()))
    data[-100] ^= 1  # in the compressed pixels
    code = (
        "import sys; from clip_align.data.decode import decode; from clip_align.data.bad_samples import BadSample\n"
        "try: decode(sys.stdin.buffer.read())\n"
        "except BadSample as error: print(error.cause)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=bytes(data), capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode().strip()) == (0, "damaged image")


def test_nothing_is_written_to_the_terminal_about_a_jpeg_that_can_be_used(capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(noise(), "JPEG")
    at = data.index(b"\xff\xdb")
    assert np.array_equal(pixels(data[:at] + b"xyz" + data[at:]), pixels(data))  # three bytes too many
    exif = encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # five entries that are not there
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(exif), pixels(data))
    assert capfd.readouterr() == ("", "")


def test_cmyk_and_palette() -> None:
    colour = Image.new("RGB", (8, 8), (200, 30, 90))
    assert np.abs(pixels(encoded(colour.convert("CMYK"), "JPEG", quality=95)).astype(int) - (200, 30, 90)).max() <= 3
    assert (pixels(encoded(colour.quantize(4))) == (200, 30, 90)).all()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = RAMP.astype(np.uint16) * 257
    assert np.array_equal(pixels(encoded(Image.fromarray(deep)))[..., 0], RAMP)
    assert pixels(encoded(Image.fromarray(deep + 40)))[0, 0, 0] == 0  # rounded, not cut off or up
    assert pixels(encoded(Image.fromarray(deep + 140)))[0, 0, 0] == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    alpha = Image.fromarray(RAMP)
    image = Image.merge(mode, [*Image.new(mode[:-1], (16, 16), "black").split(), alpha])
    assert np.abs(pixels(encoded(image))[..., 1].astype(int) - (255 - RAMP)).max() <= 1


def test_transparent_colours_of_palette_and_rgb() -> None:
    sample = Image.new("RGB", (8, 8), (10, 20, 30))
    sample.paste((200, 0, 0), (0, 0, 4, 8))
    for data in (encoded(sample, transparency=(10, 20, 30)), encoded(sample.quantize(2), transparency=0)):
        found = {tuple(p) for p in pixels(data).reshape(-1, 3).tolist()}
        assert (255, 255, 255) in found
        assert len(found) == 2


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = noise((16, 8))
    assert pixels(encoded(image, "JPEG", exif=exif.tobytes())).shape == (8, 16, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_cut_files_are_damaged(form: str, fraction: float) -> None:
    data = encoded(noise(), form)
    with pytest.raises(BadSample) as error:
        decode(data[: int(fraction * len(data))])
    assert error.value.cause in ("damaged image", "not an image")


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(50)])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(BadSample) as error:
        decode(data)
    assert error.value.cause == "not an image"


def test_an_image_that_would_fill_the_memory_is_refused() -> None:
    data = bytearray(encoded(Image.new("L", (8, 8))))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # what the header says
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(BadSample):
        decode(bytes(data))


def test_the_decoder_is_named() -> None:
    assert re.fullmatch(r"Pillow \d[\d.]+ \(libjpeg \d[\d.]*\)", decoder_name())


def test_real_odd_images(shared_data: Path) -> None:
    """All 14 of a shard with alpha, CMYK, palette, 16 bits, WebP, EXIF, 1 x 1 px, a progressive strip."""
    with tarfile.open(shared_data / "cifar10_odd" / "09_image_modes.tar") as tar:
        files = [tar.extractfile(m).read() for m in tar if not m.name.lower().endswith(("json", "txt"))]  # type: ignore[union-attr]
    images = [pixels(data) for data in files]
    assert len(images) == 14
    assert images[10].shape == (1, 1, 3)
    assert images[11].shape == (8, 400, 3)
    assert images[4].std() > 20  # 16-bit grey: not plain white
    assert np.ptp(images[4], axis=-1).max() == 0
