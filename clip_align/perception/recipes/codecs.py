# SPDX-License-Identifier: Apache-2.0
"""What a coder does: types 10, 11, 21 and 22 of TID2013, 9 and 10 of KADID-10k, re-made with Pillow's coders."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.perception import psnr
from clip_align.perception.recipes.noise import ImageArray

COLOURS = (2, 256)  # palette sizes of type 22


def jpeg(pixels: ImageArray, quality: float) -> ImageArray:
    """Type 10: baseline JPEG at an IJG quality, chroma at half resolution (Pillow's defaults)."""
    return _through(pixels, "JPEG", quality=int(quality))


def jpeg2000(pixels: ImageArray, target_db: float) -> ImageArray:
    """Type 11: JPEG2000 with the 9/7 wavelet and colour transform, rate chosen for the PSNR.

    OpenJPEG aims at a PSNR by itself and lands some tenths of a dB beside it; the aim is corrected until
    the decoded image is within .04 dB. It moves in steps, of .1 to .3 dB on smooth images at low rates, so
    the nearest of at most five is taken.
    """
    made: dict[float, ImageArray] = {}

    def psnr_at(strength: float) -> float:
        aim_db = -10 * math.log10(strength)
        made[strength] = _through(
            pixels, "JPEG2000", quality_mode="dB", quality_layers=[aim_db], irreversible=True, mct=1
        )
        return psnr.psnr(made[strength], pixels)

    start = 10 ** (-(target_db + 0.2) / 10)  # relative error power: a strength that lowers the PSNR
    return made[psnr.reach(psnr_at, target_db, start, slope=-10 / math.log(10), tolerance_db=0.04, evaluations=5)]


def jpeg2000_at_ratio(pixels: ImageArray, ratio: float) -> ImageArray:
    """JPEG2000 with the 9/7 wavelet and colour transform, as many times smaller as the image in 8 bits."""
    return _through(pixels, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True, mct=1)


def noisy_jpeg(pixels: ImageArray, target_db: float, quality: float, rng: np.random.Generator) -> ImageArray:
    """Type 21: the noise of type 1, then JPEG; the amplitude is searched, 0 where the coder alone is below.

    Args:
        pixels: uint8 [H, W, 3].
        target_db: PSNR over R, G, B of noise and coder together; on busy images JPEG at that quality has less by
            itself.
        quality: IJG quality, 1 to 100.
        rng: generator of the noise.
    """
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)  # [H, W, 3], the same at every amplitude
    coded = jpeg(pixels, quality)
    # independent errors add up: what the coder leaves of the target is the noise's variance, and the first guess
    missing = psnr.to_mean_square(target_db) - psnr.to_mean_square(psnr.psnr(coded, pixels))
    if missing <= 0:
        return coded
    made: dict[float, ImageArray] = {}

    def psnr_at(amplitude: float) -> float:
        noisy = np.clip(np.rint(pixels + np.float32(amplitude) * noise), 0, 255).astype(np.uint8)
        made[amplitude] = jpeg(noisy, quality)
        return psnr.psnr(made[amplitude], pixels)

    return made[psnr.reach(psnr_at, target_db, math.sqrt(missing), tolerance_db=0.02)]


def palette(pixels: ImageArray, target_db: float) -> ImageArray:
    """Type 22: median-cut palette of 2 to 256 colours with Floyd-Steinberg dither; the size nearest to the PSNR.

    The palette is cut from every second pixel in both directions, which is four times as fast.
    """
    image = Image.fromarray(pixels)
    sample = Image.fromarray(np.ascontiguousarray(pixels[::2, ::2]))
    made: dict[int, ImageArray] = {}

    def psnr_at(colours: int) -> float:
        cut = sample.quantize(colours, Image.Quantize.MEDIANCUT)
        dithered = image.quantize(palette=cut, dither=Image.Dither.FLOYDSTEINBERG)
        made[colours] = np.asarray(dithered.convert("RGB"))
        return psnr.psnr(made[colours], pixels)

    # 3 colours at 21 dB and about a doubling per 2 dB: a first guess that saves evaluations, the search decides
    start = round(min(2 ** (1.6 + 0.48 * (target_db - 21)), COLOURS[1]))
    return made[psnr.reach_whole(psnr_at, target_db, start, *COLOURS, tolerance_db=0.1)]


def _through(pixels: ImageArray, coder: str, **options: object) -> NDArray[np.uint8]:
    coded = io.BytesIO()
    Image.fromarray(pixels).save(coded, coder, **options)
    return np.asarray(Image.open(coded).convert("RGB"))  # decoded as any reader of the file would see it
