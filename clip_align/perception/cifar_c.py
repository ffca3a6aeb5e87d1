# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10-C and CIFAR-100-C as their authors distribute them: an array per corruption, five times the test set.

``<corruption>.npy`` is uint8 [5 N, 32, 32, 3], severity 1 first, each in the order of the test images; ``labels.npy``
holds their labels five times (Hendrycks & Dietterich 2019; zenodo 2535967 and 3555552).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.cifar import SIDE, ArchiveError

__all__ = ["FILES", "SEVERITIES", "CorruptionFile", "check_cifar_c", "cifar_c_image"]

CorruptionFile = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
]
FILES: tuple[CorruptionFile, ...] = get_args(CorruptionFile)
SEVERITIES = 5


def check_cifar_c(folder: Path, corruption: str, labels: NDArray[np.int64]) -> None:
    """ArchiveError, one line, unless the folder holds this corruption of the test images with these labels.

    Args:
        folder: with the arrays.
        corruption: name of the file.
        labels: int64 [N] of the clean test images.
    """
    images, five = _array(folder / f"{corruption}.npy"), _array(folder / "labels.npy")
    expected = (SEVERITIES * len(labels), SIDE, SIDE, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        what = f"holds {images.dtype} {images.shape}, expected uint8 {expected}: five times the clean images"
        raise ArchiveError(f"{folder / corruption}.npy {what}")
    if five.shape != expected[:1] or not np.array_equal(five, np.tile(labels, SEVERITIES)):
        raise ArchiveError(f"{folder / 'labels.npy'} does not hold the labels of the clean images five times")


def cifar_c_image(folder: Path, corruption: str, severity: int, row: int, count: int) -> NDArray[np.uint8]:
    """A corrupted test image uint8 [32, 32, 3].

    Args:
        folder: with the arrays.
        corruption: name of the file.
        severity: 1 to 5.
        row: number of the clean image.
        count: N, of the clean images.
    """
    return np.array(_array(folder / f"{corruption}.npy")[(severity - 1) * count + row])


@lru_cache(maxsize=8)
def _array(path: Path) -> NDArray[Any]:
    try:
        # a memory map: 150 MB a file, of which one image is read at a time; pickles could run code
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArchiveError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return array
