# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import tarfile
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_align.data.bad_samples import BadSample
from clip_align.data.decode import MEGA, decode, decoder_name

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
def test_ordinary_files_are_what_pillow_decodes(form: str, mode: str) -> None:
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


@pytest.mark.parametrize(("side", "limit"), [(60_000, 64 * MEGA), (9000, 64 * MEGA), (101, 10_000)])
def test_an_image_with_too_many_pixels_is_too_large(side: int, limit: int) -> None:
    """Seen in the header, before memory is taken: above the limit, and above Pillow's own."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = with_chunk(encoded(Image.new("L", (8, 8))), b"IHDR", header)
    with pytest.raises(BadSample) as error:
        decode(data, limit)
    assert error.value.cause == "too large"


def test_as_many_pixels_as_allowed_are_decoded() -> None:
    assert decode(encoded(noise((100, 100))), 10_000).shape == (3, 100, 100)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def with_chunk(png: bytes, kind: bytes, content: bytes, before: bytes = b"IDAT") -> bytes:
    """The file with another chunk before the first ``before``; an IHDR takes the place of its own."""
    if kind == b"IHDR":
        return png[:8] + chunk(kind, content) + png[33:]
    at = png.index(before) - 4
    return png[:at] + chunk(kind, content) + png[at:]


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3 << 20))),
        (b"tEXt", b"workflow\0" + b"x" * (3 << 20)),
        (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"x" * (3 << 20))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 << 20))),
    ],
)
def test_large_text_and_profiles_of_a_png_are_no_reason(kind: bytes, content: bytes, before: bytes) -> None:
    image = noise()
    assert np.array_equal(pixels(with_chunk(encoded(image), kind, content, before)), np.asarray(image))


def test_text_that_together_fills_memory_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 1000)
    data = encoded(noise())
    for number in range(4):
        data = with_chunk(data, b"tEXt", b"note %d\0" % number + b"x" * 500)
    assert np.array_equal(pixels(data), np.asarray(noise()))


@pytest.mark.parametrize("kind", [b"iCCP", b"sRGB", b"gAMA", b"pHYs", b"cHRM", b"acTL", b"fcTL", b"fdAT", b"tRNS"])
@pytest.mark.parametrize("content", [b"", b"\xff", b"\0" * 5])
def test_a_malformed_chunk_costs_that_sample_at_most(kind: bytes, content: bytes) -> None:
    for before in (b"IDAT", b"IEND"):
        with suppress(BadSample):  # anything else fails
            decode(with_chunk(encoded(noise()), kind, content, before))


def test_the_malformed_chunk_that_ended_runs(shared_data: Path) -> None:
    for data in ((shared_data / "odd_inputs/images/poison.png").read_bytes(), malformed_profile()):
        with pytest.raises(BadSample) as error:
            decode(data)
        assert error.value.cause == "decoder error (IndexError)"


def malformed_profile() -> bytes:
    return with_chunk(encoded(noise()), b"iCCP", b"", before=b"IEND")


@pytest.mark.parametrize("raised", [IndexError("x"), KeyError(1), MemoryError(), ZeroDivisionError(), TypeError("x")])
def test_whatever_a_decoder_raises_is_a_cause(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise raised

    data = encoded(noise())
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(BadSample) as error:
        decode(data)
    assert error.value.cause == f"decoder error ({type(raised).__name__})"


def test_an_image_with_a_mebibyte_of_text(shared_data: Path) -> None:
    assert decode((shared_data / "odd_inputs/images/bigtext.png").read_bytes()).shape == (3, 48, 64)


def test_the_decoder_is_named() -> None:
    assert re.fullmatch(r"Pillow \d[\d.]+ \(libjpeg \d[\d.]*\)", decoder_name())


def test_the_decoder_says_that_it_reduces() -> None:
    assert decoder_name(jpeg_draft=True) == f"{decoder_name()}, JPEG decoded at reduced size"


@pytest.mark.parametrize(
    ("side", "least", "found"),
    [(64, None, 64), (64, 33, 64), (64, 32, 32), (65, 32, 33), (64, 9, 16), (64, 8, 8), (64, 2, 8)],
)
def test_jpeg_at_reduced_size(side: int, least: int | None, found: int) -> None:
    """By halves, down to an eighth, never below the least side, and only JPEG."""
    image = Image.new("RGB", (side, side), (200, 100, 50))
    assert decode(encoded(image, "JPEG"), least_side=least).shape == (3, found, found)
    assert decode(encoded(image, "PNG"), least_side=least).shape == (3, side, side)


def test_reduced_size_is_a_low_pass_filter_of_the_same_image() -> None:
    rows, columns = np.mgrid[:128, :128] / 127
    smooth = np.stack([255 * rows, 255 * columns, 128 + 0 * rows], axis=2).astype(np.uint8)
    whole = decode(encoded(Image.fromarray(smooth), "JPEG", quality=95)).float()
    half = decode(encoded(Image.fromarray(smooth), "JPEG", quality=95), least_side=64).float()
    assert (half - torch.nn.functional.avg_pool2d(whole, 2)).abs().mean() < 1.5
    # what alternates from pixel to pixel is gone
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    assert decode(encoded(Image.fromarray(stripes), "JPEG", quality=95), least_side=64).float().std() < 10


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
