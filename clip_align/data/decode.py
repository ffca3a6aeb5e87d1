# SPDX-License-Identifier: Apache-2.0
"""Image files to RGB bytes.

Transparency is laid on white (as everywhere that images are read), 16-bit grey is scaled to 8 bits, grey and palette
images become RGB. EXIF orientation is not applied (no reader of such shards applies it), colour profiles are not
converted.

Pillow is the decoder. torchvision yields equal pixels, but a damaged PNG ends the process (0.29), its JPEG library
writes directly to the terminal, and decoding and cropping together are not faster.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import PIL
import torch
from PIL import Image, features

from clip_align.data.bad_samples import DAMAGED, DECODER_ERROR, NOT_AN_IMAGE, TOO_LARGE, BadSample
from clip_align.perception.image_files import on_white, without_large_metadata

MEGA = 1_000_000
_FORMATS = ("JPEG", "PNG", "WEBP")
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of a 16-bit grey PNG, by release


def decode(data: bytes, max_pixels: int = 64 * MEGA, least_side: int | None = None) -> torch.Tensor:
    """RGB uint8 [3, H, W] of a JPEG, PNG or WebP file.

    Args:
        data: of the file.
        max_pixels: of the image.
        least_side: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as both sides have at least so many px,
            which is faster, and a low-pass filter; None: at its full size.

    BadSample for any error of the decoder: another format, a truncated or damaged file, or more than ``max_pixels``
    pixels (tested before decoding). Large embedded texts and profiles are no error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata of usable images
        return _decoded(data, max_pixels, least_side)


def _decoded(data: bytes, max_pixels: int, least_side: int | None) -> torch.Tensor:
    cause = NOT_AN_IMAGE  # until the header is read; an error after it means damage
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)  # reads the header only
        cause = DAMAGED
        if image.width * image.height > max_pixels:
            raise BadSample(TOO_LARGE)
        if least_side is not None and image.format == "JPEG":
            image.draft(None, (least_side, least_side))  # chooses the scale; nothing is decoded yet
        return _pixels(image)
    except BadSample:
        raise
    except Image.DecompressionBombError:
        raise BadSample(TOO_LARGE) from None
    except ValueError:  # what Pillow raises for a large text or profile, among others
        slim = without_large_metadata(data)
        if slim is not data:
            return _decoded(slim, max_pixels, least_side)  # at most once: nothing is left to take out of ``slim``
        raise BadSample(cause) from None
    except (OSError, SyntaxError, RuntimeError, EOFError):
        raise BadSample(cause) from None
    except Exception as error:  # IndexError, struct.error, MemoryError, …: one image must not end the run
        raise BadSample(f"{DECODER_ERROR} ({type(error).__name__})") from None


def decoder_name(jpeg_draft: bool = False) -> str:
    """The decoder with its versions, for a run's provenance. ``jpeg_draft``: whether it decodes at reduced size."""
    jpeg = features.version("libjpeg_turbo") or features.version("jpg")
    reduced = ", JPEG decoded at reduced size" if jpeg_draft else ""
    return f"Pillow {PIL.__version__} (libjpeg {jpeg}){reduced}"


def _pixels(image: Image.Image) -> torch.Tensor:
    if image.mode in _GREY_16:  # Pillow's own conversion to RGB would clip at 255; 65,535 / 257 = 255
        grey = np.round(np.asarray(image).astype(np.float64) / 257).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1)
    image = on_white(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # a view [3, H, W] of bytes in Pillow's order
