# SPDX-License-Identifier: Apache-2.0
"""Levels of the corruptions, measured on images: those of hendrycks/robustness (8190fe3), ``ImageNet-C/create_c/``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from clip_align.known_answer import KnownAnswer
from clip_align.perception.corruptions import CORRUPTIONS, corrupted
from clip_align.perception.psnr import psnr

# of make_cifar_c.py, for 32 px, and of make_imagenet_c.py, for 224 px; on [0, 1]
SIGMAS: Mapping[int, tuple[float, ...]] = {32: (0.04, 0.06, 0.08, 0.09, 0.10), 224: (0.08, 0.12, 0.18, 0.26, 0.38)}
BLURS: Mapping[int, tuple[float, ...]] = {32: (0.4, 0.6, 0.7, 0.8, 1.0), 224: (1.0, 2.0, 3.0, 4.0, 6.0)}
SCRIPTS = {32: "CIFAR-C", 224: "ImageNet-C"}
SIDE, GREY = 512, 128


def known_answers() -> Iterator[KnownAnswer]:
    """Corruptions: sigmas of CIFAR-C and ImageNet-C, and PSNR of the noise."""
    grey = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    for size, expected in SIGMAS.items():
        noise = CORRUPTIONS["gaussian_noise"]
        for severity, (level, sigma) in enumerate(zip(noise.levels(size), expected, strict=True), start=1):
            # before it is clipped
            added = noise.change(grey / 255, level, np.random.default_rng(severity)) - grey / 255
            name = f"{SCRIPTS[size]}, Gaussian noise, severity {severity}: sigma"
            yield KnownAnswer(name, float(added.std()), sigma, 0.01 * sigma)
    for size, expected in BLURS.items():
        blur = CORRUPTIONS["gaussian_blur"]
        for severity, (level, sigma) in enumerate(zip(blur.levels(size), expected, strict=True), start=1):
            name = f"{SCRIPTS[size]}, Gaussian blur, severity {severity}: brightest of a point"
            point = np.zeros((101, 101, 3))
            point[50, 50] = 1
            spread = float(blur.change(point, level, np.random.default_rng(0))[50, 50, 0])
            yield KnownAnswer(name, spread, _peak(sigma), 1e-6)
    for level in CORRUPTIONS["gaussian_noise"].levels(32):
        # truncation moves values by .5 on the mean and adds the variance 1/12; on mid-grey hardly a value is clipped
        value = 10 * math.log10(255**2 / ((255 * level) ** 2 + 1 / 4 + 1 / 12))
        found = psnr(grey, corrupted(grey, "gaussian_noise", level, "verify"))
        yield KnownAnswer(f"PSNR in dB, noise of sigma {level:.2f} on mid-grey, truncated", found, value, 0.02)


def _peak(sigma: float) -> float:
    """The largest weight of a Gaussian filter of four sigmas in two dimensions, its weights adding up to 1."""
    offsets: NDArray[np.int_] = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    return float(1 / np.exp(-(offsets**2) / (2 * sigma**2)).sum() ** 2)
