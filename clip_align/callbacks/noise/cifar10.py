# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on CIFAR-10's test images, clean and under noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.cifar_images import CifarImages
from clip_align.perception import cifar
from clip_align.perception.cifar import ArchiveLayout


class CIFAR10(CifarImages):
    """CIFAR-10's 10,000 test images in 10 classes, clean and under Gaussian noise at the five sigmas of CIFAR-10-C.

    Scores, direction, protocol and options: `CifarImages`. Chance of an accuracy 1/10 (of the known classes); no human
    data, no ceiling. ``root`` holds ``cifar-10-python.tar.gz`` or the folder that it unpacks to; source and terms:
    ``download``.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    download: ClassVar[Download] = Download(
        name="CIFAR-10",
        what="60,000 photographs of 32 px in 10 classes; the 10,000 test images are read",
        address="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        size="0.2 GB",
        terms="no licence stated; cite the report",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        needed=("cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta"),
    )
    layout: ClassVar[ArchiveLayout] = cifar.CIFAR10
    published: ClassVar[Mapping[str, float]] = {
        "CLIP ViT-B/32 (OpenAI)": 0.8983,
        "CLIP ViT-B/32 (LAION-2B)": 0.9358,
        "CLIP RN50 (CC12M)": 0.5241,
    }
