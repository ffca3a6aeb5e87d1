# SPDX-License-Identifier: Apache-2.0
"""Tiny ImageNet as it is distributed: 200 classes of ImageNet at 64 px, 500 training and 50 validation images each.

``train/<WordNet number>/images/*.JPEG``; ``val/images/*.JPEG`` with ``val/val_annotations.txt``: name, class and box,
tabs between them; ``words.txt``: class, tab, its names. The images of ``test`` have no labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from clip_align.errors import some_of, visible
from clip_align.open_clip_prompts import imagenet_names

__all__ = [
    "ADDRESS",
    "FOLDER",
    "SIDE",
    "TinyImageNetError",
    "class_texts",
    "tiny_imagenet_folder",
    "training_images",
    "validation_images",
]

ADDRESS: Final = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDER: Final = "tiny-imagenet-200"
SIDE: Final = 64  # px
CLASSES, TRAINING, VALIDATION = 200, 100_000, 10_000  # of the original
_WORDNET = re.compile(r"n[0-9]{8}")
_IMAGE = (".jpeg", ".jpg", ".png")
ClassNames = Literal["clip", "words"]
Labelled = list[tuple[str, str]]  # path of an image below the folder, its class


class TinyImageNetError(ValueError):
    """A folder that is damaged or lacks something; the message is one line."""


def tiny_imagenet_folder(root: Path, part: Literal["train", "val"]) -> Path | None:
    """``root``, or the unpacked folder below it, whichever holds ``part``; None if neither does."""
    needed = "val_annotations.txt" if part == "val" else ""
    return next((folder for folder in (root, root / FOLDER) if (folder / part / needed).exists()), None)


def training_images(folder: Path) -> tuple[Labelled, tuple[str, ...]]:
    """The training images in the order of classes and names, and lines about what is unusual.

    Hidden files, and folders that are no WordNet numbers, are left out.

    Args:
        folder: of `tiny_imagenet_folder`.

    TinyImageNetError where a folder cannot be read, or there is no image.
    """
    found: Labelled = []
    empty: list[str] = []
    for label in _listed(folder / "train"):
        if not _WORDNET.fullmatch(label) or not (folder / "train" / label).is_dir():
            continue
        below = Path("train", label, "images")
        names = [name for name in _listed(folder / below) if Path(name).suffix.lower() in _IMAGE]
        found += [(str(below / name), label) for name in names]
        empty += [] if names else [label]
    if not found:
        raise TinyImageNetError(f"{folder / 'train'} holds no images; expected train/n01443537/images/*.JPEG")
    notes = [f"data: no images in {len(empty)} classes: {some_of(empty)}"] if empty else []
    classes = len({label for _, label in found})
    if (classes, len(found)) != (CLASSES, TRAINING):
        whole = f"all of Tiny ImageNet are {CLASSES} and {TRAINING:,}"
        notes.append(f"data: {classes} classes, {len(found):,} training images; {whole}")
    return found, tuple(notes)


def validation_images(folder: Path) -> Labelled:
    """The labelled validation images, in the order of their names' numbers.

    Args:
        folder: of `tiny_imagenet_folder`.

    TinyImageNetError for a line that is not of the format, a class that is no WordNet number, an image that is listed
    twice or not there.
    """
    table = folder / "val" / "val_annotations.txt"
    labels: dict[str, str] = {}
    for number, line in enumerate(_text(table).splitlines(), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if not name or Path(name).name != name or not _WORDNET.fullmatch(label):
            what = f"expected the image's name, a tab and its class (n01443537), found {visible(line[:60])}"
            raise TinyImageNetError(f"{table}, line {number}: {what}")
        if name in labels:
            raise TinyImageNetError(f"{table}, line {number}: {visible(name)} is there twice")
        labels[name] = label
    missing = [name for name in labels if not (folder / "val" / "images" / name).is_file()]
    if missing or not labels:
        what = f"lacks {some_of(list(map(visible, missing)))}, named" if missing else "is of no use: no image is named"
        raise TinyImageNetError(f"{folder / 'val' / 'images'} {what} in {table.name}; unzip {FOLDER}.zip again")
    return [(str(Path("val", "images", name)), labels[name]) for name in sorted(labels, key=_order)]


def class_texts(folder: Path, labels: Iterable[str], names: ClassNames) -> dict[str, str]:
    """Texts of classes in captions and prompts, by WordNet number.

    Args:
        folder: with words.txt.
        labels: WordNet numbers.
        names: ``clip``: ImageNet's names as CLIP's authors cleaned them, where there is one, else the first of
            words.txt; ``words``: always that.

    TinyImageNetError where a class has no name.
    """
    cleaned: Mapping[str, str] = imagenet_names() if names == "clip" else {}
    wanted = sorted(labels)
    words = _words(folder / "words.txt") if any(label not in cleaned for label in wanted) else {}
    missing = [label for label in wanted if not (cleaned.get(label) or words.get(label))]
    if missing:
        raise TinyImageNetError(f"{folder / 'words.txt'} has no names of {some_of(missing)}")
    return {label: cleaned.get(label) or words[label] for label in wanted}


def _words(path: Path) -> dict[str, str]:
    """The first name of each class of words.txt."""
    pairs = (line.partition("\t") for line in _text(path).splitlines())
    return {label.strip(): names.partition(",")[0].strip() for label, _, names in pairs}


def _listed(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones (``._n01.JPEG``: what macOS leaves beside copied files)."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise TinyImageNetError(f"{folder} cannot be read: {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TinyImageNetError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise TinyImageNetError(f"{path} is not a text in UTF-8 ({error})") from None


def _order(name: str) -> tuple[int, str]:
    """val_10.JPEG after val_9.JPEG."""
    digits = re.search(r"[0-9]+", name)
    return int(digits[0]) if digits else -1, name
