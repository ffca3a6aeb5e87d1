# SPDX-License-Identifier: Apache-2.0
"""Image files to RGB bytes.

Transparency is laid on white, 16-bit grey scaled to 8 bits, grey and palette images become RGB; EXIF orientation
is not applied (no reader of such shards does), colour profiles are not converted.

Pillow decodes everything. torchvision gives equal pixels, but a damaged PNG ends its process (0.29), its JPEG library
writes to the terminal, past Python, and decoding and cropping together take no less time with it.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError, features

from clip_align.data.bad_samples import DAMAGED, NOT_AN_IMAGE, BadSample

_FORMATS = ("JPEG", "PNG", "WEBP")
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def decode(data: bytes) -> torch.Tensor:
    """RGB uint8 [3, H, W] of a JPEG, PNG or WebP file; BadSample when it is none, cut or otherwise damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata in images that can be used
        return _decoded(data)


def _decoded(data: bytes) -> torch.Tensor:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)  # reads the header only
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise BadSample(NOT_AN_IMAGE) from None
    try:
        return _pixels(image)
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, MemoryError):
        raise BadSample(DAMAGED) from None


def decoder_name() -> str:
    """What decodes images here, with versions: part of a run's provenance."""
    jpeg = features.version("libjpeg_turbo") or features.version("jpg")
    return f"Pillow {PIL.__version__} (libjpeg {jpeg})"


def _pixels(image: Image.Image) -> torch.Tensor:
    if image.mode in _GREY_16:  # Pillow's own conversion to RGB would clip at 255
        grey = np.round(np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
