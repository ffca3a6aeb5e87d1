# SPDX-License-Identifier: Apache-2.0
"""What is known of CIFAR-100's test images, and how much the noise of CIFAR-C changes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clip_align.errors import Problem, UserError
from clip_align.known_answer import KnownAnswer, count
from clip_align.perception.cifar import CIFAR100, ArchiveError, find_archive, read_cifar
from clip_align.perception.corruptions import CORRUPTIONS, corrupted
from clip_align.perception.psnr import psnr

IMAGES, CLASSES = 10_000, 100
NOISY = 500  # first images, of which the PSNR is taken
PSNRS = (28.1, 24.7, 22.3, 21.3, 20.4)  # dB, by severity
TENTH = 0.05  # dB; expected numbers have one decimal


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """CIFAR-100: test images, and PSNR of CIFAR-C's Gaussian noise on them."""
    archive = find_archive(root, CIFAR100)
    if archive is None:
        what = f"{root} holds neither {CIFAR100.folder}/{CIFAR100.test} nor {CIFAR100.tar}"
        raise UserError(Problem("root", f"{what}; python -m clip_align data cifar100 shows where it is from"))
    try:
        content = read_cifar(archive, CIFAR100)
    except ArchiveError as error:
        raise UserError(Problem("root", str(error))) from error
    # of a subset nothing is known
    yield KnownAnswer("test images", len(content.images), IMAGES if content.original else None)
    yield count("classes", len(content.names), CLASSES)
    for level, expected in zip(CORRUPTIONS["gaussian_noise"].levels(32), PSNRS, strict=True):
        found = [
            psnr(image, corrupted(image, "gaussian_noise", level, f"verify/{number}"))
            for number, image in enumerate(content.images[:NOISY])
        ]
        yield KnownAnswer(f"PSNR in dB, noise of sigma {level:.2f}, truncated", float(np.mean(found)), expected, TENTH)
