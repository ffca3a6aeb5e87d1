# SPDX-License-Identifier: Apache-2.0
"""Miniature shards for tests of whole runs: images of noise with captions."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CAPTIONS = ("a circle of wood", "a square on grass", "a star of stone")


def jpeg(seed: int, side: int = 36) -> bytes:
    """A JPEG file of noise."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def samples(numbers: Iterable[int], captions: Sequence[str] = CAPTIONS) -> list[tuple[str, bytes]]:
    """Members of good samples: an image and one of the captions, in turn."""
    found = []
    for n in numbers:
        found += [(f"k{n:05d}.jpg", jpeg(n)), (f"k{n:05d}.txt", captions[n % len(captions)].encode())]
    return found


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar of the members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path
