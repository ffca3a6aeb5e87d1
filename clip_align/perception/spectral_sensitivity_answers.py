# SPDX-License-Identifier: Apache-2.0
"""Pixel measures on the spectral patches against the luminous efficiency of their wavelengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics.correlation import krocc, plcc, srocc
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.psnr import psnr
from clip_align.perception.spectral_patches import patch, patches

SIZE = 256  # px, the authors'
DIGITS = 1e-4


def known_answers() -> Iterator[KnownAnswer]:
    """Spectral sensitivity: pixel measures on 30 patches against V(lambda)."""
    of, field = patches(), patch(SIZE, None)
    images = [patch(SIZE, (r, g, b)) for r, g, b in of.color.tolist()]
    yield count("patches", len(images), 30)
    rmse, luminance = (
        np.array([ColorDistance(space)(field, image) for image in images]) for space in ("sRGB", "luminance")
    )
    minus_psnr = np.array([-psnr(field, image) for image in images])
    yield KnownAnswer("PSNR in dB: lowest", float(-minus_psnr.max()), 18.97, 5e-3)
    yield KnownAnswer("PSNR in dB: highest", float(-minus_psnr.min()), 51.93, 5e-3)
    yield KnownAnswer("-PSNR, Judd-Vos: PLCC", plcc(minus_psnr, of.judd_vos), 0.5335, DIGITS)
    yield KnownAnswer("RMSE, Judd-Vos: PLCC", plcc(rmse, of.judd_vos), 0.6297, DIGITS)
    yield KnownAnswer("RMSE, Judd-Vos: SROCC", srocc(rmse, of.judd_vos), 0.6930, DIGITS)
    yield KnownAnswer("RMSE, Judd-Vos: KROCC", krocc(rmse, of.judd_vos), 0.4851, DIGITS)
    yield KnownAnswer("-PSNR, CIE 1924: PLCC", plcc(minus_psnr, of.cie_1924), 0.5294, DIGITS)
    yield KnownAnswer("RMSE, CIE 1924: PLCC", plcc(rmse, of.cie_1924), 0.6262, DIGITS)
    yield KnownAnswer("luminance difference, Judd-Vos: PLCC", plcc(luminance, of.judd_vos), 0.9972, DIGITS)
