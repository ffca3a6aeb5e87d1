# SPDX-License-Identifier: Apache-2.0
"""Held-out samples with images of their own, for tests of what retrieves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clip_align.data.held_out import HeldOutSample, HeldOutSamples
from clip_align.testing.random_images import random_image


def held_out_files(folder: Path, captions: Sequence[tuple[str, ...]], height: int, width: int) -> HeldOutSamples:
    """Samples ``k0``, ``k1``, … with random images in a folder.

    Args:
        folder: that the images are written to.
        captions: of each sample.
        height, width: of the images in px.
    """
    found = []
    for n, own in enumerate(captions):
        path = folder / f"{n}.png"
        Image.fromarray(random_image(path.name, height, width)).save(path)
        found.append(HeldOutSample(f"k{n}", str(path), 0, None, own))
    return HeldOutSamples(tuple(found))
