# SPDX-License-Identifier: Apache-2.0
"""Images in a folder with a csv of captions."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from clip_align.data.bad_samples import NO_IMAGE, BadSample, Causes
from clip_align.data.captions import clean
from clip_align.data.progress import Notify, followed
from clip_align.data.samples import MIB, FolderSamples
from clip_align.data.table import ColumnsMissingError, read_columns
from clip_align.errors import Problem, UserError

_HINT = 'quote captions that hold commas ("one, two"), or separate the fields with tabs'


class Settings(Protocol):
    """The options that locate images and captions: ``data.csv`` and those beside it."""

    @property
    def csv(self) -> str:
        """Path of the csv."""

    @property
    def root(self) -> str | None:
        """Folder that image paths are relative to; None: the csv's."""

    @property
    def image_column(self) -> str:
        """Column with the image's path."""

    @property
    def caption_column(self) -> str:
        """Column with the caption."""

    @property
    def max_image_mb(self) -> int:
        """Size above which an image file is a bad sample."""


def folder_samples(data: Settings, progress: Notify = lambda line: None) -> tuple[FolderSamples, Causes]:
    """The rows with a caption and an existing image file, and the causes of the other rows.

    The format of the csv is that of `table.read_columns`. UserError if the csv or a column is missing, a row does not
    fit the header, or no row is usable.
    """
    path = Path(data.csv).expanduser()
    root = Path(data.root).expanduser() if data.root else path.parent
    if not root.is_dir():
        raise UserError(Problem("data.root", f"no such folder: {root}; image paths of {path} are relative to it"))
    rows = _rows(path, data)
    names, captions, sizes, bad = [], [], [], Causes()
    for image, caption in followed(rows, "looking for images", progress):
        try:
            text = clean(caption)
            size = _size(root, image)
        except BadSample as error:  # named by its image; by the csv if the field is empty
            bad.add(error.cause, image or path.name)
        else:
            names.append(image)
            captions.append(text)
            sizes.append(size)
    if not names:
        what = f"none of its {len(rows):,} rows can be used: {bad}" if rows else "it has no rows"
        raise UserError(Problem("data.csv", f"{path}: {what}; images are looked for in {root} (data.root)"))
    return FolderSamples(str(root), names, captions, sizes, data.max_image_mb * MIB), bad


def class_samples(
    root: Path, images: Sequence[tuple[str, str]], max_image_mb: int, progress: Notify = lambda line: None
) -> tuple[FolderSamples, Causes]:
    """Labelled images in a folder, each with the name of its class as caption, and the causes of those left out.

    Args:
        root: folder that the images' paths are relative to.
        images: path and name of the class of each.
        max_image_mb: MiB above which an image file is a bad sample.
        progress: receives progress.
    """
    kept, sizes, bad = [], [], Causes()
    for image, name in followed(images, "looking for images", progress):
        try:
            sizes.append(_size(root, image))
            kept.append((image, name))
        except BadSample as error:
            bad.add(error.cause, image)
    paths, texts = [image for image, _ in kept], [name for _, name in kept]
    return FolderSamples(str(root), paths, texts, sizes, max_image_mb * MIB), bad


def _size(root: Path, image: str) -> int:
    try:
        status = os.stat(root / image)
    except (OSError, ValueError):  # a name with a NUL
        raise BadSample(NO_IMAGE) from None
    if not stat.S_ISREG(status.st_mode):  # an empty field is the folder itself
        raise BadSample(NO_IMAGE)
    return status.st_size


def _rows(path: Path, data: Settings) -> list[tuple[str, str | None]]:
    """Image and caption of each row."""
    try:
        rows = read_columns(path, (data.image_column, data.caption_column), "data.csv", _HINT)
    except OSError as error:
        raise UserError(
            Problem("data.csv", f"cannot read {path}: {error.strerror}; name a csv with data.csv=…")
        ) from error
    except ColumnsMissingError as error:
        raise UserError(
            *(
                Problem(f"data.{name}", f"{path} has no column '{column}'; it has: {', '.join(error.found) or 'none'}")
                for name, column in (("image_column", data.image_column), ("caption_column", data.caption_column))
                if column in error.names
            )
        ) from None
    return [(image or "", caption) for _, (image, caption) in rows]
