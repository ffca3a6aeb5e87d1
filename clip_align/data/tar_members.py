# SPDX-License-Identifier: Apache-2.0
"""List the members of a tar with their positions, without reading their data: samples are later read by position.

A header takes some microseconds here and some tens with tarfile, and webdataset's writer makes two for each file (the
second for fractions of a second). Supported are POSIX (ustar, pax) and GNU headers, sizes in base 256, hard links (a
link is its earlier file), sparse files (left out, since their bytes are not contiguous), concatenated tars.

Errors are of two kinds. After damage (a wrong checksum, a truncated file) the members before it are used. A header
with a correct checksum and content that no writer produces (a negative size, a number of thousands of digits) makes the
whole tar invalid.
"""

from __future__ import annotations

import errno
import os
from typing import BinaryIO, NamedTuple

from clip_align.data.bad_samples import DANGLING, SPARSE

BLOCK = 512
MOST_HEADER_BYTES = 2**20  # of an extended header; a path has at most 4,096 bytes
CUT_OR_DAMAGED = ("is cut", "is damaged")  # how a note begins when members may be missing
_ZEROS = bytes(BLOCK)
_READ_AT_ONCE = 2**20
_FILES, _WITHOUT_DATA = (b"0", b"\0", b"7"), (b"1", b"2", b"3", b"4", b"5", b"6")
_HARD_LINK, _OLD_SPARSE = b"1", b"S"
_GLOBAL, _LONG_NAME, _LONG_LINK = b"g", b"L", b"K"
_EXTENDED = frozenset((b"x", b"X", _GLOBAL, _LONG_NAME, _LONG_LINK))  # about the next member, or all that follow
_FIELDS = (b"path", b"linkpath", b"size")
_MOST_DIGITS = 19  # 2^63 has as many


class Member(NamedTuple):
    """A regular file in a tar: its name as stored, where its bytes start, how many there are.

    problem: why its bytes cannot be read by position (a cause of `skipped`), else empty.
    """

    name: bytes
    at: int
    size: int
    problem: str = ""


class TarRefusedError(Exception):
    """A header has content that no writer produces; the message gives it and the byte."""


class _Header(NamedTuple):
    """The fields of one header, including those of the extended headers before it."""

    kind: bytes
    name: bytes
    link: bytes
    size: int  # of its data in the tar, in bytes
    sparse: bool


def tar_members(file: BinaryIO) -> tuple[list[Member], str]:
    """Complete members in order, and what is wrong with the end of the file (empty if nothing is).

    Time and memory are at most proportional to the file. TarRefusedError for content that no writer produces.
    """
    handle, length = file.fileno(), os.fstat(file.fileno()).st_size
    members: list[Member] = []
    named: dict[bytes, Member] = {}
    extended: dict[bytes, bytes] = {}  # fields of extended headers, for the next member
    at, ended = 0, False
    while at + BLOCK <= length:
        block = os.pread(handle, BLOCK, at)
        if block == _ZEROS:  # the end, unless another tar comes behind it
            at, ended = _after_zeros(handle, at, length), True
            continue
        if not _is_header(block):
            return members, f"{'has something else behind its end' if ended else 'is damaged'} at byte {at:,}"
        header = _header(block, extended, at)
        data, ended = at + BLOCK, False
        if header.kind == _OLD_SPARSE:
            data = _after_map(handle, block, data)
        if data + header.size > length:
            break
        at = data + -(-header.size // BLOCK) * BLOCK
        if header.kind in _EXTENDED:
            extended |= _extended_fields(header.kind, handle, data, header.size)
            continue
        extended = {}
        member = _member(header, data, named)
        if member is not None:
            members.append(member)
            named[member.name] = member
    return members, "" if ended else f"is cut at byte {length:,}"


def _member(header: _Header, data: int, named: dict[bytes, Member]) -> Member | None:
    """The regular file of a header; None for folders, devices and symbolic links."""
    if header.name.endswith(b"/"):  # a folder, in the oldest form
        return None
    if header.kind == _HARD_LINK:
        earlier = named.get(header.link)
        return earlier._replace(name=header.name) if earlier else Member(header.name, 0, 0, DANGLING)
    if header.sparse:
        return Member(header.name, 0, 0, SPARSE)
    return Member(header.name, data, header.size) if header.kind in _FILES else None


def _header(block: bytes, extended: dict[bytes, bytes], at: int) -> _Header:
    kind = block[156:157]
    extended_size = extended.get(b"size") if kind not in _EXTENDED else None
    size = 0 if kind in _WITHOUT_DATA else _size(block[124:136], extended_size, at)
    if kind in _EXTENDED and size > MOST_HEADER_BYTES:
        raise TarRefusedError(f"has an extended header of {size:,} bytes at byte {at:,}")
    sparse = kind == _OLD_SPARSE or b"GNU.sparse" in extended
    name = extended.get(b"GNU.sparse.name") or extended.get(b"path") or _name(block)
    return _Header(kind, name, extended.get(b"linkpath") or block[157:257].split(b"\0", 1)[0], size, sparse)


def _is_header(block: bytes) -> bool:
    """Whether the checksum is right: the sum of all bytes, its own counted as blanks."""
    field = _octal(block[148:156])
    if field is None:
        return False
    total = sum(block) - sum(block[148:156]) + 8 * 32
    return field == total or field == total - 256 * sum(byte > 127 for byte in block)  # old writers: signed bytes


def _octal(field: bytes) -> int | None:
    """A number in octal digits, with blanks around it and a NUL behind it; None for anything else."""
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else None  # int() takes signs and underscores too
    except ValueError:
        return None


def _size(field: bytes, extended: bytes | None, at: int) -> int:
    """The size in a header's 12 bytes, octal or base 256, or in the extended header before it."""
    if extended is not None:
        size = int(extended) if extended.isdigit() and len(extended) <= _MOST_DIGITS else None
    elif field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
    else:
        size = _octal(field)  # 0xff in front of a number is a negative one
    if size is None or size >= 2**63:
        raise TarRefusedError(f"has a size that is no number of bytes in the header at byte {at:,}")
    return size


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:  # POSIX; GNU's own form keeps times there
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _extended_fields(kind: bytes, handle: int, at: int, size: int) -> dict[bytes, bytes]:
    """The used fields of an extended header: POSIX's ``length key=value`` lines, or GNU's bare long name."""
    data = os.pread(handle, size, at)
    if kind in (_LONG_NAME, _LONG_LINK):
        return {b"path" if kind == _LONG_NAME else b"linkpath": data.rstrip(b"\0")}
    if not (b"path=" in data or b"size=" in data or b"GNU.sparse" in data):
        return {}
    extended: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        digits = data[start : start + _MOST_DIGITS + 1].split(b" ", 1)[0]
        length = int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 0
        if not len(digits) + 2 < length <= len(data) - start:
            raise TarRefusedError(f"has a malformed extended header at byte {at:,}")
        key, _, value = data[start + len(digits) + 1 : start + length - 1].partition(b"=")
        if key in _FIELDS or key == b"GNU.sparse.name":
            extended[key] = value
        elif key.startswith(b"GNU.sparse."):
            extended[b"GNU.sparse"] = b""
        start += length
    if kind == _GLOBAL and extended:  # a path or size for all that follow
        raise TarRefusedError(
            f"has a global header about {', '.join(sorted(map(bytes.decode, extended)))} at byte {at:,}"
        )
    return extended


def _after_map(handle: int, block: bytes, at: int) -> int:
    """Where the data of a sparse file in GNU's old form begin: behind the blocks that continue with its map."""
    more = block[482]
    while more:
        block = os.pread(handle, BLOCK, at)
        more = len(block) == BLOCK and block[504]
        at += BLOCK
    return at


def _after_zeros(handle: int, at: int, length: int) -> int:
    """Position of the first block from ``at`` on that is not all zeros; the file's length if there is none."""
    while at < length:
        try:  # skip holes of a sparse file, which may be terabytes
            at = max(at, os.lseek(handle, at, os.SEEK_DATA) // BLOCK * BLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left; other errors: not supported by the file system
                return length
        part = os.pread(handle, _READ_AT_ONCE, at)
        rest = part.lstrip(b"\0")
        if rest:
            return (at + len(part) - len(rest)) // BLOCK * BLOCK
        at += len(part) or BLOCK  # cut while it is read
    return length
