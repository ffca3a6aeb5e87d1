# SPDX-License-Identifier: Apache-2.0
"""Images in a folder with a csv of captions."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path
from typing import Protocol, TextIO

from clip_align.data.bad_samples import NO_IMAGE, BadSample, Causes
from clip_align.data.captions import clean
from clip_align.data.progress import Show, followed
from clip_align.data.samples import FolderSamples
from clip_align.errors import UserError


class Settings(Protocol):
    """What says where the images are: ``data.csv`` and its fellows."""

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


def folder_samples(data: Settings, progress: Show = lambda line: None) -> tuple[FolderSamples, Causes]:
    """The rows with a caption and an image file that exists, and what was left out.

    The first line names the columns; fields are separated by commas (tabs where the first line has a tab and no
    comma). UserError when the csv or a column is missing, or nothing in it can be used.
    """
    path = Path(data.csv).expanduser()
    root = Path(data.root).expanduser() if data.root else path.parent
    if not root.is_dir():
        raise UserError(f"data.root: no such folder: {root}; image paths of {path} are relative to it")
    rows = _rows(path, data)
    names, captions, sizes, bad = [], [], [], Causes()
    for image, caption in followed(rows, "looking for images", progress):
        try:
            text = clean(caption)
            size = _size(root, image)
        except BadSample as error:
            bad.add(error.cause, image or path.name)
        else:
            names.append(image)
            captions.append(text)
            sizes.append(size)
    if not names:
        what = f"none of its {len(rows):,} rows can be used: {bad}" if rows else "it has no rows"
        raise UserError(f"data.csv: {path}: {what}; images are looked for in {root} (data.root)")
    return FolderSamples(str(root), names, captions, sizes), bad


def _size(root: Path, image: str) -> int:
    try:
        status = os.stat(root / image)
    except (OSError, ValueError):  # a name with a NUL
        raise BadSample(NO_IMAGE) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadSample(NO_IMAGE)
    return status.st_size


def _rows(path: Path, data: Settings) -> list[tuple[str, str | None]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _columns(file, path, data)
    except OSError as error:
        raise UserError(f"data.csv: cannot read {path}: {error.strerror}; name a csv with data.csv=…") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.csv: {path} is no csv in UTF-8 ({error})") from error


def _columns(file: TextIO, path: Path, data: Settings) -> list[tuple[str, str | None]]:
    first = file.readline()
    delimiter = "\t" if "\t" in first and "," not in first else ","
    file.seek(0)
    reader = csv.DictReader(file, delimiter=delimiter)
    found = list(reader.fieldnames or [])
    errors = [
        f"data.{name}: {path} has no column '{column}'; it has: {', '.join(found) or 'none'}"
        for name, column in (("image_column", data.image_column), ("caption_column", data.caption_column))
        if column not in found
    ]
    if errors:
        raise UserError(*errors)
    return [(row[data.image_column] or "", row[data.caption_column]) for row in reader]
