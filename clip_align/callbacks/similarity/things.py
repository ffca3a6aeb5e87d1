# SPDX-License-Identifier: Apache-2.0
"""High-level similarity on THINGS: which of three objects is the odd one?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.odd_one_out import OddOneOut, Triplet
from clip_align.errors import UserError, option_problem

EXTENSIONS = (".jpg", ".jpeg", ".png")


class Things(OddOneOut):
    """People's choices of the odd one of three objects, of 1,854 in all, each shown by one image.

    ``accuracy``: fraction of triplets in which the model finds the same one odd; chance 1/3. A triplet is a line of
    three objects, the pair that people found alike first, the odd one last: names, with or without an extension, or
    numbers from 0 of the objects in the order of their names, of which the last one has to be in the file: with an
    image too many or too few, all numbers after it would be of other objects. The rules for ties of others:
    ``ties=wrong`` (Hernández-Cámara et al. 2024, with ``distance=normalised_euclidean``), ``ties=right`` (DreamSim's
    code, by which a model that cannot tell images apart scores 1).

    Source: Hebart, Zheng, Pereira and Baker 2020; triplets CC-BY-4.0 (osf.io/z2784), images for research
    (things-initiative.org), to be had separately.

    Args:
        root: folder with the triplets and the images.
        triplets: file below ``root``.
        images: folder below ``root``: a sub-folder for each object, of which the first file in alphabetical order is
            shown, or one file for each object.
        base: arguments of `OddOneOut` (``distance``, ``ties``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "choices of the odd one of three objects"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Hebart et al. 2020; osf.io/z2784"
    licence: ClassVar[str] = "CC-BY-4.0 (triplets); research use (images)"
    context: ClassVar[Mapping[str, float]] = {
        "OpenAI CLIP ViT-B/32": 0.5150,
        "OpenAI CLIP ViT-B/16": 0.5058,
        "OpenAI CLIP ViT-L/14": 0.4911,
        "pixels": 0.345,
        "SSIM": 0.344,
        "LPIPS": 0.332,
    }
    context_source: ClassVar[str] = (
        "Hernández-Cámara et al. 2024, printed results: 15,640 triplets of testset1, ties wrong, "
        "normalised_euclidean of the projection"
    )
    download: ClassVar[Download] = Download(
        name="THINGS odd-one-out",
        what="people's choices of the odd one of three objects, and an image of each of 1,854 objects",
        address="https://osf.io/z2784 (triplets) and https://things-initiative.org (images)",
        size="size not stated",
        terms="CC-BY-4.0 (triplets); research use (images)",
        citation="Hebart, Zheng, Pereira, Baker: Revealing the multidimensional mental representations. 2020",
        needed=("*.txt", "images"),
    )

    def __init__(self, root: str, triplets: str = "testset1.txt", images: str = "images", **base: Any) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key).absolute()
        files = object_files(folder / images)
        self.compare(read_triplets(folder / triplets, files, self.key), folder / images, "set", "images")


def object_files(folder: Path) -> dict[str, str]:
    """The image of each object by its name, in the order of the names: paths below ``folder``."""
    found: dict[str, str] = {}
    entries = [p for p in folder.iterdir() if not p.name.startswith((".", "__"))] if folder.is_dir() else []
    # by the object's name: with the extension, t-shirt.jpg would come before t.jpg
    for entry in sorted(entries, key=lambda p: p.name if p.is_dir() else p.stem):
        if entry.is_dir():
            files = sorted(p.name for p in entry.iterdir() if p.suffix.lower() in EXTENSIONS and p.name[0] != ".")
            if files:
                found[entry.name] = f"{entry.name}/{files[0]}"
        elif entry.suffix.lower() in EXTENSIONS:
            found[entry.stem] = entry.name
    return found


def read_triplets(path: Path, files: dict[str, str], key: str) -> list[Triplet]:
    """The triplets of a file; UserError for a line that is none, or names an object without an image.

    Args:
        path: of the file.
        files: image of each object by its name, in the order of their numbers.
        key: of the benchmark, for error messages.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot read {path}: {getattr(error, 'strerror', None) or error}; triplets= names a file below root"
        raise UserError(option_problem(key, "triplets", what)) from error
    names = list(files)
    found = []
    highest = -1
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or len(set(words)) != 3:
            what = f"{path}, line {number}: {line.strip()!r} is no triplet; valid are three different objects"
            raise UserError(option_problem(key, "triplets", what))
        images = []
        for word in words:
            index = None if word in files else _number(word)
            highest = max(highest, -1 if index is None else index)
            name = _name(word) if index is None else names[index] if 0 <= index < len(names) else ""
            if name not in files:
                what = f"{path}, line {number}: no image of object {word}; there are images of {len(names):,} objects"
                raise UserError(option_problem(key, "images", f"{what}; the data set has 1,854"))
            images.append(files[name])
        found.append(Triplet(f"line {number}", (images[0], images[1], images[2]), 2, "all"))
    if 0 <= highest < len(names) - 1:
        what = f"{path} numbers its objects from 0 to {highest:,}, and there are images of {len(names):,} objects"
        raise UserError(option_problem(key, "images", f"{what}; valid are images of exactly the objects numbered"))
    return found


def _name(word: str) -> str:
    """An object's name: DreamSim's triplets have names of image files."""
    return Path(word).stem if Path(word).suffix.lower() in EXTENSIONS else word


def _number(word: str) -> int | None:
    """A whole number, which some tools write as 12.0 or 1.2e+01; None for a name."""
    try:
        value = float(word)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None  # "nan" and "infinity" are words too
