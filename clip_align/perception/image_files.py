# SPDX-License-Identifier: Apache-2.0
"""Image files as observers saw them: upright, 8-bit sRGB, transparency laid on white as training's decoder does."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of every PNG
_LARGE_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks whose size Pillow bounds; none changes a pixel
T = TypeVar("T")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image file as uint8 [H, W, 3]: upright as its EXIF tag says, grey repeated, transparency laid on white.

    ValueError for more than 8 bits a sample, which would be clipped rather than scaled; OSError where it
    cannot be decoded.
    """
    return _read(path, lambda image: np.array(on_white(ImageOps.exif_transpose(image)).convert("RGB")))


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels, upright, from the file's header alone; errors as ``read_rgb``."""

    def upright(image: Image.Image) -> tuple[int, int]:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF's tag orientation: sides exchanged
        return (image.width, image.height) if turned else (image.height, image.width)

    return _read(path, upright)


def on_white(image: Image.Image) -> Image.Image:
    """The image laid on white where it has transparency: an alpha channel, or a transparent colour of its palette."""
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def without_large_metadata(data: bytes) -> bytes:
    """A PNG without text and colour profile, which Pillow refuses from 1 MiB on; the same object for all other data."""
    if not data.startswith(PNG):
        return data
    chunks, at = [], len(PNG)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")  # of the content alone
        chunks.append(data[at : at + 12 + length])  # length, kind, content, checksum
        at += 12 + length
    kept = [chunk for chunk in chunks if chunk[4:8] not in _LARGE_METADATA]
    return PNG + b"".join(kept) if len(kept) < len(chunks) else data


def _read(path: Path, use: Callable[[Image.Image], T]) -> T:
    """What ``use`` makes of an image; whatever the decoder raises is an OSError that names the file."""
    try:
        try:
            with Image.open(path) as image:
                return use(_checked(image, path))
        except ValueError:  # a large text or profile, or a mode of more than 8 bits
            data = path.read_bytes()
            slim = without_large_metadata(data)
            if slim is data:  # nothing was left out, so that the error would be the same
                raise
            with Image.open(io.BytesIO(slim)) as image:
                return use(_checked(image, path))
    except (OSError, ValueError):
        raise
    except Exception as error:  # decoders raise anything: IndexError, struct.error, DecompressionBombError, …
        raise OSError(f"{path} cannot be decoded ({type(error).__name__}: {error})") from error


def _checked(image: Image.Image, path: Path) -> Image.Image:
    if image.mode not in EIGHT_BITS:
        raise ValueError(f"{path} has mode {image.mode}; convert it to 8 bits a sample")
    return image
