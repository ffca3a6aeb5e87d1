# SPDX-License-Identifier: Apache-2.0
"""Similarity across levels of abstraction on Levels: which of three ImageNet images is the odd one?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.odd_one_out import OddOneOut, Triplet
from clip_align.data.table import benchmark_columns
from clip_align.errors import UserError, option_problem
from clip_align.structure import Distinct

Level = Literal["between_class", "class_border", "within_class"]
LEVELS: tuple[Level, ...] = ("between_class", "class_border", "within_class")
COLUMNS = ("image1Path", "image2Path", "image3Path", "selected_image")


class Levels(OddOneOut):
    """People's choices of the odd one of three ImageNet images, between classes, at their border and within a class.

    ``accuracy``: mean over the levels of the fraction of choices in which the model finds the same image odd, with each
    level beside it (``accuracy_level_between_class``); chance 1/3. A row of a csv is one person's choice.

    Source: Muttenthaler et al., "Aligning machine and human visual representations across abstraction levels", arXiv
    2409.06509. The images are those of ImageNet's training set, to be had separately.

    Args:
        root: folder with ``between_class.csv``, ``class_border.csv`` and ``within_class.csv``.
        images: ImageNet's training set, a folder for each class (``n01440764``); None: ``images`` below ``root``.
        levels: which of the three.
        base: arguments of `OddOneOut` (``distance``, ``ties``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "choices of the odd one of three images"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Muttenthaler et al., arXiv 2409.06509"
    licence: ClassVar[str] = "not stated (choices); ImageNet's terms (images)"
    download: ClassVar[Download] = Download(
        name="Levels",
        what="people's choices of the odd one of three ImageNet images, at three levels of abstraction",
        address="https://arxiv.org/abs/2409.06509 (choices) and https://image-net.org (images)",
        size="size not stated",
        terms="not stated (choices); ImageNet's terms (images)",
        citation="Muttenthaler et al.: Aligning machine and human visual representations across abstraction levels",
        needed=("between_class.csv", "class_border.csv", "within_class.csv"),
    )

    def __init__(
        self,
        root: str,
        images: str | None = None,
        levels: Annotated[Sequence[Level], Distinct()] = LEVELS,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key).absolute()
        place = Path(images).expanduser().absolute() if images else folder / "images"
        triplets = [triplet for level in levels for triplet in read_level(folder / f"{level}.csv", level, self.key)]
        self.compare(triplets, place, "level", "images")


def read_level(path: Path, level: str, key: str) -> list[Triplet]:
    """The choices of one level; UserError for a row whose choice is none of its three images.

    Args:
        path: of the csv.
        level: its name.
        key: of the benchmark, for error messages.
    """
    hint = "get the file again"
    rows = benchmark_columns(path, COLUMNS, key, "root", hint, if_missing=dict.fromkeys(COLUMNS, hint))
    found = []
    for line, fields in rows:
        # a file's name, with or without folders before it
        one, two, three, chosen = (PurePosixPath((field or "").strip()).name for field in fields)
        names = (one, two, three)
        if not all(names) or names.count(chosen) != 1:
            what = f"{path}, line {line}: selected_image {chosen!r} is not one of {', '.join(names)}; {hint}"
            raise UserError(option_problem(key, "root", what))
        # n01440764_10026.JPEG lies in the folder n01440764
        first, second, third = (f"{name.partition('_')[0]}/{name}" for name in names)
        found.append(Triplet(f"{level}, line {line}", (first, second, third), names.index(chosen), level))
    return found
