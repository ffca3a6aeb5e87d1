# SPDX-License-Identifier: Apache-2.0
"""What is in a tar and where, without reading what is in it: a sample is later read by position.

A header costs some microseconds here, tarfile's some tens, and webdataset's writer makes two for each file
(the second for fractions of a second). A tar with anything unusual in it (sparse files, global headers, files
beyond 8 GB in the old form) is left to tarfile.
"""

from __future__ import annotations

import os
import tarfile
from typing import BinaryIO, NamedTuple

BLOCK = 512
_FILE, _WITHOUT_DATA, _PAX, _LONG_NAME = b"0\0", b"123456", b"x", b"L"


class Member(NamedTuple):
    """A regular file in a tar: its name as stored, where its bytes start, how many there are."""

    name: bytes
    at: int
    size: int


class _NotPlainError(Exception):
    """The tar holds headers that only tarfile understands."""


def tar_members(file: BinaryIO) -> tuple[list[Member], str]:
    """Whole members in order, and what is wrong with the file's end: empty when nothing is."""
    length = os.fstat(file.fileno()).st_size
    try:
        return _plain(file.fileno(), length)
    except _NotPlainError:
        return _any(file, length)


def _plain(handle: int, length: int) -> tuple[list[Member], str]:
    members: list[Member] = []
    at, told = 0, dict[bytes, bytes]()  # told: what an extended header says about the next member
    while at + BLOCK <= length:
        head = os.pread(handle, BLOCK, at)
        if not head.strip(b"\0"):
            return members, ""  # a block of zeros is the end
        if not _is_header(head):
            return members, f"is damaged at byte {at:,}"
        kind, data = head[156:157], at + BLOCK
        size = 0 if kind in _WITHOUT_DATA else _size(head, told)
        at = data + -(-size // BLOCK) * BLOCK
        if data + size > length:
            return members, f"is cut at byte {length:,}"
        if kind in _PAX + _LONG_NAME:
            told = _told(kind, os.pread(handle, size, data))
            continue
        if kind not in _FILE + _WITHOUT_DATA:
            raise _NotPlainError
        name = told.get(b"path") or _name(head)
        if kind in _FILE and not name.endswith(b"/"):  # a folder, in the oldest form
            members.append(Member(name, data, size))
        told = {}
    return members, f"is cut at byte {length:,}"  # no mark of the end


def _told(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """Path and size in an extended header: POSIX's ``length key=value`` lines, or GNU's bare long name."""
    if kind == _LONG_NAME:
        return {b"path": data.rstrip(b"\0")}
    if b"GNU.sparse" in data:
        raise _NotPlainError
    told: dict[bytes, bytes] = {}
    while data and (b"path=" in data or b"size=" in data):
        length = data.partition(b" ")[0]
        if not length.isdigit() or not 0 < int(length) <= len(data):
            raise _NotPlainError
        record, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
        key, _, value = record.partition(b"=")
        told[key] = value
    return told


def _is_header(head: bytes) -> bool:
    try:
        return int(head[148:156].strip(b" \0") or b"0", 8) == sum(head) - sum(head[148:156]) + 8 * 32
    except ValueError:
        return False


def _size(head: bytes, told: dict[bytes, bytes]) -> int:
    field = told.get(b"size")
    if field is not None and field.isdigit():
        return int(field)
    if field is not None or head[124] & 0x80:  # base 256: beyond 8 GB
        raise _NotPlainError
    try:
        return int(head[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        raise _NotPlainError from None


def _name(head: bytes) -> bytes:
    name = head[:100].split(b"\0", 1)[0]
    if head[257:263] == b"ustar\0" and head[345]:  # POSIX; GNU's own form keeps times there
        name = head[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _any(file: BinaryIO, length: int) -> tuple[list[Member], str]:
    members: list[Member] = []
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                if info.offset_data + info.size > length and info.isreg():
                    return members, f"is cut at byte {length:,}"
                if info.isreg() and not info.issparse():
                    members.append(Member(os.fsencode(info.name), info.offset_data, info.size))
    except (tarfile.TarError, OSError, ValueError) as error:
        return members, f"is damaged ({error})"
    return members, ""
