# SPDX-License-Identifier: Apache-2.0
"""Images in tars with a label or captions: an image and a json with a field, a ``cls`` or a ``txt`` under one key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, TypeVar

from clip_align.config import Source
from clip_align.data.captions import MOST_TEXT_BYTES
from clip_align.data.file_reader import open_file
from clip_align.data.shard_patterns import shard_paths
from clip_align.data.tar_members import Member, TarRefusedError, tar_members
from clip_align.data.tar_samples import IMAGES
from clip_align.errors import some_of, visible

__all__ = ["CaptionedMember", "LabelledMember", "ShardsUnusableError", "captioned_members", "labelled_members"]

NAMED = 10  # fields of a json that an error message lists
MEMBERS = ("cls", "txt")  # that hold a label or captions themselves
T = TypeVar("T")


class ShardsUnusableError(ValueError):
    """Shards in which an image has no label, or which cannot be read; the message is one line."""


class LabelledMember(NamedTuple):
    """An image in a tar: the tar's path, the image's first byte and number of bytes, its key and its label."""

    path: str
    at: int
    size: int
    key: str
    label: str


class CaptionedMember(NamedTuple):
    """An image in a tar: the tar's path, the image's first byte and number of bytes, its key and its captions."""

    path: str
    at: int
    size: int
    key: str
    captions: tuple[str, ...]


def labelled_members(pattern: str, field: str) -> list[LabelledMember]:
    """The images of all tars, in order.

    Args:
        pattern: tars as in ``data.shards``: braces, wildcards or a folder.
        field: of each sample's json, with its label; ``cls`` or ``txt``: the member of that extension instead.

    ShardsUnusableError, with tar and key, for the first image without a label; UserError for patterns without a tar.
    """
    return [LabelledMember(*place, label) for place, label in _read(pattern, field, _label, "class_field", "label")]


def captioned_members(pattern: str, field: str) -> list[CaptionedMember]:
    """The images of all tars with all their captions, in order.

    Args:
        pattern: tars as in ``data.shards``: braces, wildcards or a folder.
        field: of each sample's json, with a caption or a list of them; ``txt``: a caption in each line of that member.

    ShardsUnusableError, with tar and key, for the first image without a caption; UserError for patterns without a tar.
    """
    found = _read(pattern, field, _captions, "caption_field", "captions")
    return [CaptionedMember(*place, captions) for place, captions in found]


def _read(
    pattern: str, field: str, read: Callable[[bytes, str, bool], T | None], option: str, what: str
) -> Iterator[tuple[tuple[str, int, int, str], T]]:
    """Path, position, size and key of every image, and what ``read`` finds about it."""
    (paths,), _ = shard_paths((Source(pattern),))
    count = 0
    for path in paths:
        try:
            with open_file(path) as file:
                for image, key, text, kinds in _samples(file, field):
                    found = None if text is None else read(text, field, field not in MEMBERS)
                    if found is None:
                        absent = (
                            f"no {field}" if field in MEMBERS else f"no field {field} in a json{_fields(text, field)}"
                        )
                        line = f"{path}: {key} ({', '.join(kinds)}) has {absent}; {option} names that of the {what}"
                        raise ShardsUnusableError(visible(line))
                    count += 1
                    yield (path, image.at, image.size, key), found
        except (OSError, TarRefusedError) as error:
            raise ShardsUnusableError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not count:
        raise ShardsUnusableError(f"{pattern} holds no image (jpg, jpeg, png, webp)")


def _samples(file: BinaryIO, field: str) -> Iterator[tuple[Member, str, bytes | None, list[str]]]:
    """Image, key, content of the member with the field (None: absent) and extensions of every sample with an image."""
    members, _ = tar_members(file)  # of a cut tar the whole members
    latest: dict[str, dict[str, Member]] = {}
    ordered: list[tuple[str, dict[str, Member]]] = []
    for member in members:
        key, _, extension = member.name.decode("utf-8", "replace").rpartition(".")
        kind = extension.lower()
        if key not in latest or kind in latest[key]:  # as in training, a repeated extension begins another sample
            latest[key] = {}
            ordered.append((key, latest[key]))
        latest[key][kind] = member
    for key, parts in ordered:
        image = next((parts[kind] for kind in IMAGES if kind in parts), None)
        if image is None or os.path.basename(key).startswith("."):
            continue
        wanted = parts.get(field if field in MEMBERS else "json")
        problem = image.problem or (wanted.problem if wanted is not None else "")
        if problem:
            raise TarRefusedError(f"{key}: {problem}")
        if wanted is not None and wanted.size > MOST_TEXT_BYTES:  # a part of it would be another label
            raise TarRefusedError(f"{key}: a text of {wanted.size:,} bytes, at most {MOST_TEXT_BYTES:,} are read")
        text = None if wanted is None else os.pread(file.fileno(), wanted.size, wanted.at)
        yield image, key, text, sorted(parts)


def _fields(raw: bytes | None, absent: str) -> str:
    """The fields of a json without the one that is absent, in brackets, as those that may be meant."""
    try:
        value = json.loads(raw.decode("utf-8-sig")) if raw is not None else None
    except (ValueError, RecursionError):  # not UTF-8, not json
        return ""
    return f" ({some_of(sorted(value), NAMED)})" if isinstance(value, dict) and value and absent not in value else ""


def _value(raw: bytes, field: str, is_json: bool) -> object:
    """The text, or the json's field; None where there is none."""
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text) if is_json else text.strip()
    except (ValueError, RecursionError):  # not UTF-8, not json
        return None
    return value.get(field) if isinstance(value, dict) else None if is_json else value


def _label(raw: bytes, field: str, is_json: bool) -> str | None:
    value = _value(raw, field, is_json)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _captions(raw: bytes, field: str, is_json: bool) -> tuple[str, ...] | None:
    value = _value(raw, field, is_json)
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return None
    # each once: a caption that an annotator gave twice is one text to find
    return tuple(dict.fromkeys(text for line in lines if (text := " ".join(line.split())))) or None
