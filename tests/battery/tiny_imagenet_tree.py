# SPDX-License-Identifier: Apache-2.0
"""Miniature copies of Tiny ImageNet's folders, with the awkward files that copies of it have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("n01443537", "n01629819", "n02124075")  # goldfish, European fire salamander, Egyptian cat


def write_tiny_imagenet(root: Path, labels: Sequence[str] = LABELS, training: int = 4, validation: int = 2) -> Path:
    """Write ``tiny-imagenet-200`` below ``root``, and return it.

    Args:
        root: folder that it is unpacked in.
        labels: WordNet numbers of its classes.
        training: images of each class.
        validation: likewise.
    """
    folder = root / "tiny-imagenet-200"
    draw = np.random.default_rng(0)
    for label in labels:
        images = folder / "train" / label / "images"
        images.mkdir(parents=True)
        boxes = [_write(images / f"{label}_{number}.JPEG", draw, grey=number == 1) for number in range(training)]
        (images.parent / f"{label}_boxes.txt").write_text("".join(f"{name}\t0\t0\t63\t63\n" for name in boxes))
    (folder / "val" / "images").mkdir(parents=True)
    rows = []
    for number in range(validation * len(labels)):
        name = _write(folder / "val" / "images" / f"val_{number}.JPEG", draw)
        rows.append(f"{name}\t{labels[number % len(labels)]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    (folder / "test" / "images").mkdir(parents=True)
    _write(folder / "test" / "images" / "test_0.JPEG", draw)
    (folder / "wnids.txt").write_text("".join(f"{label}\n" for label in labels))
    names = ("goldfish, Carassius auratus", "European fire salamander", "Egyptian cat, tabby")
    (folder / "words.txt").write_text("".join(f"{n}\t{w}\n" for n, w in zip(labels, names, strict=False)))
    return folder


def _write(path: Path, draw: np.random.Generator, grey: bool = False) -> str:
    image = Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    image.convert("L" if grey else "RGB").save(path, "JPEG")  # some of the originals are grey
    return path.name
