# SPDX-License-Identifier: Apache-2.0
"""Image files to RGB bytes.

Transparency is laid on white, 16-bit grey scaled to 8 bits, grey and palette images become RGB; EXIF orientation
is not applied (no reader of such shards does), colour profiles are not converted. torchvision decodes ordinary
JPEG and PNG where it works (equal pixels, less time), Pillow the rest.
"""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError

from clip_align.data.skipped import DAMAGED, NOT_AN_IMAGE, BadSample

_FORMATS = ("JPEG", "PNG", "WEBP")
_UNCHANGED = 0  # torchvision.io.ImageReadMode.UNCHANGED
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def decode(data: bytes) -> torch.Tensor:
    """RGB uint8 [3, H, W] of a JPEG, PNG or WebP file; BadSample when it is none, cut or otherwise damaged."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)  # reads the header only
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise BadSample(NOT_AN_IMAGE) from None
    try:
        return _fast(data, image) if _ordinary(image) else _thorough(image)
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, MemoryError):
        raise BadSample(DAMAGED) from None


def decoder_name() -> str:
    """What decodes images here, with versions: part of a run's provenance."""
    pillow = f"Pillow {PIL.__version__}"
    return pillow if _torchvision() is None else f"torchvision {_version()} (JPEG, PNG), {pillow} (others)"


def _ordinary(image: Image.Image) -> bool:
    plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    return plain and image.format in ("JPEG", "PNG") and _torchvision() is not None


def _fast(data: bytes, image: Image.Image) -> torch.Tensor:
    operator: Any = _torchvision()
    pixels: torch.Tensor = operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), _UNCHANGED, False)
    if pixels.dtype != torch.uint8 or pixels.shape[0] not in (1, 3):
        return _thorough(image)  # 16 bits a channel, …
    return pixels.expand(3, -1, -1)


def _thorough(image: Image.Image) -> torch.Tensor:
    if image.mode in _GREY_16:  # Pillow's own conversion to RGB would clip at 255
        grey = np.round(np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@functools.cache
def _torchvision() -> Any | None:
    """torchvision's decoder if it works here: some builds lack the image libraries, or do not match torch.

    The operator itself, because ``torchvision.io`` warns at each call since it is to be replaced some day.
    """
    try:
        import torchvision.io  # noqa: F401  # registers the operator

        sample = io.BytesIO()
        Image.new("RGB", (8, 8), "white").save(sample, "JPEG")
        operator = torch.ops.image.decode_image
        operator(torch.frombuffer(bytearray(sample.getvalue()), dtype=torch.uint8), _UNCHANGED, False)
    except (ImportError, RuntimeError, OSError, AttributeError, TypeError):
        return None
    return operator


def _version() -> str:
    import torchvision

    return str(torchvision.__version__)
