# SPDX-License-Identifier: Apache-2.0
"""PSNR of errors of known size, and of the Gaussian noise that CIFAR-C's sigmas stand for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer
from clip_align.perception.psnr import psnr

CIFAR_C = (0.04, 0.06, 0.08, 0.09, 0.10)  # Hendrycks & Dietterich 2019, ImageNet-C/create_c/make_cifar_c.py
SIDE = 512


def known_answers() -> Iterator[KnownAnswer]:
    """PSNR: errors of known size, Gaussian noise at CIFAR-C's sigmas."""
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for difference, expected in ((1, 48.1308), (10, 28.1308), (127, 6.0547)):
        value = psnr(grey, grey + np.uint8(difference))
        yield KnownAnswer(f"PSNR in dB, all pixels {difference} of 255 apart", value, expected, 1e-4)
    # 255/256 of the pixels right: 10 log10(256) more than with all of them wrong
    few = grey.copy()
    few[: SIDE // 16, : SIDE // 16] += 10
    yield KnownAnswer("PSNR in dB, one pixel of 256 ten levels apart", psnr(grey, few), 28.1308 + 24.0824, 1e-4)
    rng = np.random.default_rng(0)
    draw = rng.normal(size=grey.shape)
    for sigma in CIFAR_C:
        # as the script has it: on [0, 1], clipped, truncated to 8 bits; on mid-grey hardly a value is clipped
        noisy = (np.clip(grey / 255 + sigma * draw, 0, 1) * 255).astype(np.uint8)
        # truncation moves values by .5 on the mean and adds the variance 1/12
        expected = 10 * math.log10(255**2 / ((255 * sigma) ** 2 + 1 / 4 + 1 / 12))
        yield KnownAnswer(
            f"PSNR in dB, noise of sigma {sigma:.2f} on mid-grey, truncated", psnr(grey, noisy), expected, 0.02
        )
