# SPDX-License-Identifier: Apache-2.0
"""PSNR of errors of known size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer
from clip_align.perception.psnr import psnr

SIDE = 512


def known_answers() -> Iterator[KnownAnswer]:
    """PSNR: errors of known size."""
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for difference, expected in ((1, 48.1308), (10, 28.1308), (127, 6.0547)):
        value = psnr(grey, grey + np.uint8(difference))
        yield KnownAnswer(f"PSNR in dB, all pixels {difference} of 255 apart", value, expected, 1e-4)
    # 255/256 of the pixels right: 10 log10(256) more than with all of them wrong
    few = grey.copy()
    few[: SIDE // 16, : SIDE // 16] += 10
    yield KnownAnswer("PSNR in dB, one pixel of 256 ten levels apart", psnr(grey, few), 28.1308 + 24.0824, 1e-4)
