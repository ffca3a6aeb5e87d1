# SPDX-License-Identifier: Apache-2.0
"""Labelled images of the user's: a folder with a sub-folder per class, a csv, or shards."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.common.labelled_images import LabelledSet, Load
from clip_align.data.bad_samples import BadSample
from clip_align.data.decode import MEGA, decode
from clip_align.data.file_reader import Files
from clip_align.data.labelled_shards import ShardsUnusableError, labelled_members
from clip_align.data.table import benchmark_columns
from clip_align.errors import UserError, option_problem, visible
from clip_align.open_clip_prompts import imagenet_names
from clip_align.perception.image_files import read_rgb, size_of

__all__ = ["LabelledSource", "labelled_set", "shard_image", "tail"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
WORDNET = re.compile(r"n[0-9]{8}")  # by which ImageNet's folders are called
MOST_PIXELS = 178 * MEGA  # as many as Pillow decodes: what training leaves out is not among the samples held out
_files = Files()


@dataclass(frozen=True)
class LabelledSource:
    """Where labelled images are.

    root: folder with a sub-folder per class, or the one that a csv's paths are relative to. csv: a table with the
    columns ``image_field`` and ``class_field``. shards: tars. class_field: of the csv or of the shards' json. names:
    text of a class in prompts by the label. images_per_class: the first so many of each; None: all.
    """

    root: str | None
    csv: str | None
    shards: str | None
    class_field: str
    names: Mapping[str, str]
    images_per_class: int | None
    image_field: str = "image"


_Found = list[tuple[str, str, Load]]  # id of an image, its label, what makes it


def labelled_set(source: LabelledSource, benchmark: str) -> LabelledSet:
    """The images of a source, classes in the order of their labels (numbers by value).

    Args:
        source: where they are.
        benchmark: key of the benchmark, for error messages.

    UserError for no source or two, for what is missing or cannot be read, for fewer than two classes, and for names of
    classes that are not there.
    """
    if (source.shards is not None) + (source.csv is not None or source.root is not None) != 1:
        what = "give root=… (a folder with a sub-folder per class), csv=… or shards=…, one of them"
        raise UserError(option_problem(benchmark, "root", what))
    if source.shards is not None:
        found = _in_shards(source.shards, source.class_field, benchmark)
    elif source.csv is not None:
        found = _in_csv(Path(source.csv).expanduser(), source, benchmark)
    else:
        found = _in_folder(Path(str(source.root)).expanduser(), benchmark)
    labels = sorted({label for _, label, _ in found}, key=_order)
    if len(labels) < 2:
        what = f"{len(found):,} images of {len(labels)} class; at least two classes are needed"
        given = "shards" if source.shards is not None else "csv" if source.csv is not None else "root"
        raise UserError(option_problem(benchmark, given, what))
    unknown = [name for name in source.names if name not in labels]
    if unknown:
        shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        raise UserError(option_problem(benchmark, "names", f"names: no class {unknown[0]}; classes: {shown}"))
    kept = _first(found, source.images_per_class)
    numbers = {label: number for number, label in enumerate(labels)}
    return LabelledSet(
        part=f"{benchmark.rpartition('/')[2]}/images",
        ids=[ident for ident, _, _ in kept],
        loads=[load for _, _, load in kept],
        labels=np.array([numbers[label] for _, label, _ in kept], np.int64),
        texts={label: text_of(label, source.names) for label in labels},
    )


def text_of(label: str, names: Mapping[str, str]) -> str:
    """A class as prompts name it: as given, ImageNet's name of a WordNet number, or the label with blanks for ``_``."""
    if label in names:
        return names[label]
    if WORDNET.fullmatch(label):
        return imagenet_names().get(label, label)
    return label.replace("_", " ")


def _in_folder(root: Path, benchmark: str) -> _Found:
    if not root.is_dir():
        what = f"no such folder: {root}; give a folder with a sub-folder of images per class"
        raise UserError(option_problem(benchmark, "root", what))
    try:
        paths = sorted(below for below in _below(root) if len(below.parts) > 1 and below.suffix.lower() in EXTENSIONS)
    except OSError as error:
        what = f"cannot read {error.filename}: {error.strerror}"
        raise UserError(option_problem(benchmark, "root", what)) from error
    # not the whole path: noise is seeded by the id, and a moved folder has the same
    found: _Found = [
        (visible(f"{tail(root)}/{below}"), visible(below.parts[0]), partial(read_rgb, root / below)) for below in paths
    ]
    if not found:
        what = f"{root} holds no sub-folder with images ({', '.join(EXTENSIONS)}); one per class is needed"
        raise UserError(option_problem(benchmark, "root", what))
    return found


def _below(root: Path) -> Iterator[Path]:
    """Files below a folder, relative to it, without hidden ones and hidden folders (``.ipynb_checkpoints``: copies).

    OSError for a folder that cannot be read: its images would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise error

    for where, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, name).relative_to(root) for name in names if not name.startswith("."))


def _in_csv(path: Path, source: LabelledSource, benchmark: str) -> _Found:
    if source.image_field == source.class_field:  # each image would be a class of its own
        what = f"class_field and image_field both name the column {source.class_field}; give two columns of {path}"
        raise UserError(option_problem(benchmark, "class_field", what))
    root = Path(source.root).expanduser() if source.root else path.parent
    columns = (source.image_field, source.class_field)
    which = {
        source.image_field: "image_field and class_field name those of the image and the class",
        source.class_field: "class_field names that of the class",
    }
    hint = "quote names that hold a comma"
    rows = benchmark_columns(path, columns, benchmark, "csv", hint, if_missing=which, skip_blanks=True)
    found: _Found = []
    for line, (image, label) in rows:
        if not image or not label:
            what = f"{path}, line {line}: {source.image_field if not image else source.class_field} is empty"
            raise UserError(option_problem(benchmark, "csv", what))
        file = root / image
        try:
            size_of(file)
        except (OSError, ValueError) as error:
            what = f"{path}, line {line}: {' '.join(str(error).split())}; root= names the folder of the images"
            raise UserError(option_problem(benchmark, "csv", what)) from error
        found.append((visible(f"{tail(path)}/{image}"), label, partial(read_rgb, file)))
    twice = [ident for ident, count in Counter(ident for ident, _, _ in found).items() if count > 1]
    if twice:
        what = f"{path}: {twice[0].removeprefix(f'{tail(path)}/')} is there twice; give each image once"
        raise UserError(option_problem(benchmark, "csv", what))
    return found


def _in_shards(pattern: str, field: str, benchmark: str) -> _Found:
    try:
        members = labelled_members(pattern, field)
    except ShardsUnusableError as error:
        raise UserError(option_problem(benchmark, "shards", str(error))) from error
    except UserError as error:  # of data.shards, whose patterns these are
        raise UserError(*(option_problem(benchmark, "shards", problem.text) for problem in error.problems)) from error
    found: _Found = []
    for member in members:
        tar = Path(member.path)
        # the first byte too: a key may occur twice in a tar
        ident = f"{tail(tar)}/{member.key}/{member.at}"
        found.append((visible(ident), member.label, partial(shard_image, tar, member.at, member.size)))
    return found


def shard_image(path: Path, at: int, size: int | None) -> NDArray[np.uint8]:
    """An image in a tar, uint8 [H, W, 3], as training decodes it.

    Args:
        path: of the tar, or of the image's own file.
        at: first byte of the image.
        size: number of bytes; None: all of the file.

    ValueError where it cannot be decoded.
    """
    try:
        image = decode(path.read_bytes() if size is None else _files.read(str(path), at, size), MOST_PIXELS)
    except BadSample as error:
        raise ValueError(f"{path}, byte {at:,}: {error.cause}") from None
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _first(found: _Found, most: int | None) -> _Found:
    """The first ``most`` images of each class."""
    if most is None:
        return found
    seen: Counter[str] = Counter()
    kept: _Found = []
    for entry in found:
        seen[entry[1]] += 1
        if seen[entry[1]] <= most:
            kept.append(entry)
    return kept


def tail(path: Path) -> str:
    """The last two parts of a path, with which the ids of images begin."""
    return "/".join(path.absolute().parts[-2:])


def _order(label: str) -> tuple[int, int, str]:
    # isdecimal: 10 after 9, as numbers, 01 and 1 by their texts; other texts behind them
    return (0, int(label), label) if label.isascii() and label.isdecimal() else (1, 0, label)


def names_from(given: Mapping[str, str] | Sequence[str] | None) -> Mapping[str, str]:
    """Names by label; a list gives those of the labels 0, 1, ….

    ``given``: names by label, or a list; None: none.
    """
    if isinstance(given, Mapping):
        return {str(label): name for label, name in given.items()}  # a label 0 is a number in yaml
    return {str(number): name for number, name in enumerate(given or ())}
