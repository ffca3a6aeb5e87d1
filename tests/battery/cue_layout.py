# SPDX-License-Identifier: Apache-2.0
"""A miniature copy of a clone of texture-vs-shape: folders and names as the authors have them, random small images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from clip_align.perception.sixteen_classes import CATEGORIES
from clip_align.testing.random_images import random_image

CONFLICT = Path("stimuli/style-transfer-preprocessed-512")
SIZE = 12  # px
HEADER = "subj,session,trial,rt,object_response,category,condition,imagename"


def conflict_stems(classes: Sequence[str] = CATEGORIES) -> Iterator[tuple[str, str]]:
    """Shape class and stem of five images of each ordered pair, those of equal classes among them."""
    for i, shape in enumerate(classes):
        for j, texture in enumerate(classes):
            for k in range(5):
                yield shape, f"{shape}{(i + 3 * j + 2 * k) % 10 + 1}-{texture}{k % 3 + 1}"


def shape_stems(classes: Sequence[str] = CATEGORIES) -> Iterator[tuple[str, str]]:
    """Class and stem of ten edges or silhouettes of each class."""
    yield from ((shape, f"{shape}{n}") for shape in classes for n in range(1, 11))


def write_images(folder: Path, stems: Iterator[tuple[str, str]], mode: str = "RGB", ending: str = ".png") -> None:
    for shape, stem in stems:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(stem, SIZE, SIZE)).convert(mode).save(folder / shape / f"{stem}{ending}")


def write_clone(root: Path, classes: Sequence[str] = CATEGORIES) -> None:
    """All image sets, with what file browsers leave behind; edges have one bit a pixel, silhouettes are grey."""
    write_images(root / CONFLICT, conflict_stems(classes))
    write_images(root / "stimuli" / "edges", shape_stems(classes), "1")
    write_images(root / "stimuli" / "filled-silhouettes", shape_stems(classes), "L")
    (root / CONFLICT / classes[0] / ".DS_Store").write_bytes(b"\0")
    (root / CONFLICT / classes[0] / f"._{classes[0]}1-{classes[1]}1.png").write_bytes(b"\0")
    (root / CONFLICT / classes[0] / "Thumbs.db").write_bytes(b"\0")
    (root / "README.md").write_text("")


def write_trials(
    path: Path, stems: Sequence[tuple[str, str]], answer: Callable[[str], str], code: str = "s5n", end: str = "\n"
) -> None:
    """A trial file: ``answer(stem)`` of each image, in another order for each file; networks' files have CRLF."""
    order = sorted(stems, key=lambda one: zlib.crc32(f"{path.name}/{one[1]}".encode()))
    rows = [HEADER]
    for number, (shape, stem) in enumerate(order, 1):
        given = answer(stem)
        name = f"{number:04d}_{code}_s01_0_{shape}_00_{stem}.png"
        rows.append(f"x,1,{number},{'NaN' if given == 'na' else '0.7'},{given},{shape},0,{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(end.join([*rows, ""]), newline="")
