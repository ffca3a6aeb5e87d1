# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on CIFAR-100's test images, clean and under noise: the paper's first and fourth panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.cifar_images import CifarImages
from clip_align.perception import cifar
from clip_align.perception.cifar import ArchiveLayout


class CIFAR100(CifarImages):
    """CIFAR-100's 10,000 test images in its 100 fine classes, clean and under Gaussian noise at CIFAR-C's five sigmas.

    Scores, direction, protocol and options: `CifarImages`. Chance of an accuracy 1/100 (of the known classes); no
    human data, no ceiling. The paper (arXiv 2508.09814) draws clean and noisy accuracy and a normalized drop; neither
    its sigma nor the size at which noise is added is published. Of the 10,000 test images 9,998 are different.
    ``root`` holds ``cifar-100-python.tar.gz`` or the folder that it unpacks to; source and terms: ``download``.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    download: ClassVar[Download] = Download(
        name="CIFAR-100",
        what="60,000 photographs of 32 px in 100 classes; the 10,000 test images are read",
        address="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        size="0.2 GB",
        terms="no licence stated; cite the report",
        citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        needed=("cifar-100-python/test", "cifar-100-python/meta"),
    )
    layout: ClassVar[ArchiveLayout] = cifar.CIFAR100
    published: ClassVar[Mapping[str, float]] = {
        "CLIP ViT-B/32 (OpenAI)": 0.6423,
        "CLIP ViT-B/32 (LAION-2B)": 0.7555,
        "CLIP RN50 (CC12M)": 0.2093,
    }
