# SPDX-License-Identifier: Apache-2.0
"""The index of a tar: its usable samples and the positions of their bytes; made once, then cached.

The members with the same key form a sample: a ``jpg|jpeg|png|webp`` and a ``txt``, or a ``json`` with ``caption`` if no
txt has a caption. The extension is what follows the last dot, in upper or lower case; the key is everything before it,
folders included. Members need not be adjacent. A repeated extension under the same key begins another sample of that
key. Other extensions and hidden files are ignored.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clip_align.data.bad_samples import (
    DAMAGED,
    NO_CAPTION,
    NO_IMAGE,
    NOT_AN_IMAGE,
    TOO_LARGE,
    BadSample,
    Causes,
    as_causes,
    causes_of,
)
from clip_align.data.captions import MOST_TEXT_BYTES, captions_of
from clip_align.data.file_reader import open_file
from clip_align.data.key_hashes import key_hashes
from clip_align.data.tar_members import CUT_OR_DAMAGED, Member, TarRefusedError, tar_members
from clip_align.errors import Problem, UserError, visible
from clip_align.runs.folder import write_atomic

FORMAT = 3  # raised when the index of the same file changes
IMAGES = ("jpg", "jpeg", "png", "webp")
_USED = (*IMAGES, "txt", "json")
_ARRAYS = ("keys", "ends", "image", "text", "from_json")
_HASHES = "key_hashes"  # beside them in the file; read only where samples are held out
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The N usable samples of one tar.

    keys: bytes of all keys, concatenated; ends: the end of each in ``keys``, int64 [N]. image, text: first byte and
    number of bytes, int64 [N, 2]. from_json: whether the caption is in a json, bool [N]. bad: samples left out.
    note: what is wrong with the end of the file, or empty. left_out: members that cannot be read by position, or empty.
    size: of the file in bytes.
    """

    keys: NDArray[np.uint8]
    ends: NDArray[np.int64]
    image: NDArray[np.int64]
    text: NDArray[np.int64]
    from_json: NDArray[np.bool_]
    bad: Causes
    note: str
    left_out: str
    size: int

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def found(self) -> int:
        """Number of samples in the tar, including bad ones."""
        return len(self) + self.bad.total

    def key(self, number: int) -> str:
        """Name of a sample for messages, in the form of `visible`."""
        start = int(self.ends[number - 1]) if number else 0
        return visible(self.keys[start : self.ends[number]].tobytes().decode("utf-8", "replace"))


class _Sample(NamedTuple):
    key: bytes
    parts: dict[str, Member]  # extension -> member


class CacheError(UserError):
    """The cache cannot be written; the same error for all shards."""


def shard_index(path: str, cache: Path) -> ShardIndex:
    """The index of a tar, from the cache or made now. UserError if the file is not a tar or has no members."""
    return stored_index(path, index_file(path, cache))


def stored_index(path: str, cached: Path) -> ShardIndex:
    """The index of a tar, from the file ``cached`` or made now and written there. UserError as of `shard_index`."""
    index = _load(cached)
    if index is None:
        index = read_index(path)
        store_index(index, path, cached)
    return index


def hashes_of_keys(path: str, cache: Path, index: ShardIndex) -> NDArray[np.uint64]:
    """Hashes of the keys of a shard's samples [N], stored beside its index; made where an older release wrote that.

    Args:
        path: of the tar.
        cache: folder of the cache.
        index: of the tar.
    """
    return stored_hashes(path, index_file(path, cache), index)


def stored_hashes(path: str, cached: Path, index: ShardIndex) -> NDArray[np.uint64]:
    """As `hashes_of_keys`, from the file ``cached``, which `stored_index` was called with."""
    try:
        with np.load(cached, allow_pickle=False) as file:
            stored: NDArray[np.uint64] = file[_HASHES]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        store_index(index, path, cached)
        return _hashes(index)
    return stored


def store_index(index: ShardIndex, path: str, cached: Path) -> None:
    """Write the index of the tar ``path`` to the file ``cached``; CacheError if that is impossible."""
    try:
        write_atomic(cached, _packed(index))
    except OSError as error:
        what = f"the index of {path} cannot be written to {cached.parent}: {error.strerror}"
        advice = "free some space or choose another folder with paths.cache=…"
        raise CacheError(Problem("paths.cache", f"{what}; {advice}")) from error


def _hashes(index: ShardIndex) -> NDArray[np.uint64]:
    return key_hashes(index.key(number) for number in range(len(index)))


def is_indexed(path: str, cache: Path) -> bool:
    """Whether the cache has a file for the tar in its present state; the file may turn out to be unreadable."""
    try:
        return index_file(path, cache).is_file()
    except OSError:
        return False


def index_file(path: str, cache: Path) -> Path:
    """Where the index of the tar ``path`` is, in its present state, in the folder of the cache; OSError for no file."""
    status = os.stat(path)
    name = f"{FORMAT}|{os.path.realpath(path)}|{status.st_size}|{status.st_mtime_ns}"
    return cache / "index" / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"


def read_index(path: str) -> ShardIndex:
    """The index of a tar, read from the tar itself."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise UserError(Problem("data.shards", f"{path} is a file of 0 bytes; fetch it again or leave it out"))
        try:
            members, note = tar_members(file)
        except TarRefusedError as error:
            raise UserError(
                Problem("data.shards", f"{path} {error}; no writer of tars does that: leave it out")
            ) from None
        if not members:
            raise UserError(Problem("data.shards", f"{path} {_without_members(file, note)}"))
        samples = list(_samples(members))
        usable, bad = _usable(file.fileno(), samples, dropping_last=note.startswith(CUT_OR_DAMAGED))
    return ShardIndex(
        np.frombuffer(b"".join(key for key, *_ in usable), np.uint8),
        np.cumsum([len(key) for key, *_ in usable], dtype=np.int64),
        np.array([(image.at, image.size) for _, image, _, _ in usable], np.int64).reshape(-1, 2),
        np.array([(text.at, text.size) for _, _, text, _ in usable], np.int64).reshape(-1, 2),
        np.array([is_json for *_, is_json in usable], np.bool_),
        bad,
        note,
        str(causes_of((m.problem, m.name.decode("utf-8", "replace")) for m in members if m.problem)),
        size,
    )


def _without_members(file: BinaryIO, note: str) -> str:
    if os.pread(file.fileno(), 2, 0) == _GZIP:
        return "is compressed; samples are read by position: unpack it with gunzip"
    if note.startswith("is damaged"):
        return "is not a tar; leave it out"
    return f"{note}, before its first file; fetch it again or leave it out" if note else "is an empty tar; leave it out"


def _samples(members: Iterable[Member]) -> Iterator[_Sample]:
    """Samples in the order of their first members."""
    latest: dict[bytes, _Sample] = {}
    ordered: list[_Sample] = []
    for member in members:
        key, _, extension = member.name.rpartition(b".")
        kind = extension.decode("ascii", "replace").lower()
        base = key.rpartition(b"/")[2]
        if kind not in _USED or not base or base.startswith(b"."):
            continue
        sample = latest.get(key)
        if sample is None or kind in sample.parts:
            sample = latest[key] = _Sample(key, {})
            ordered.append(sample)
        sample.parts[kind] = member
    return iter(ordered)


def _usable(
    handle: int, samples: list[_Sample], dropping_last: bool
) -> tuple[list[tuple[bytes, Member, Member, bool]], Causes]:
    """The usable samples, and the others by cause; the last, incomplete sample of a truncated tar is not counted."""
    usable, bad = [], Causes()
    for number, sample in enumerate(samples):
        try:
            usable.append(_checked(handle, sample))
        except BadSample as error:
            last = dropping_last and number == len(samples) - 1
            if not last or _has_all(sample):
                key = sample.key.decode("utf-8", "replace")
                bad.add(error.cause, f"{key}, {error.detail}" if error.detail else key)
    return usable, bad


def _has_all(sample: _Sample) -> bool:
    return "txt" in sample.parts and any(kind in sample.parts for kind in IMAGES)


def _checked(handle: int, sample: _Sample) -> tuple[bytes, Member, Member, bool]:
    image = next((sample.parts[kind] for kind in IMAGES if kind in sample.parts), None)
    if image is None:
        raise BadSample(NO_IMAGE)
    text, is_json = _text(handle, sample)
    if image.problem:
        raise BadSample(image.problem)
    if image.size == 0:
        raise BadSample(DAMAGED)
    if not _looks_like_an_image(os.pread(handle, 12, image.at)):
        raise BadSample(NOT_AN_IMAGE)
    return sample.key, image, text, is_json


def _text(handle: int, sample: _Sample) -> tuple[Member, bool]:
    """The member with the caption, and whether it is a json; BadSample with the cause of the txt, else the json."""
    reasons = []
    for kind in ("txt", "json"):
        member = sample.parts.get(kind)
        if member is not None:
            try:
                _check_text(handle, member, kind == "json")
            except BadSample as error:
                reasons.append(error)
            else:
                return member, kind == "json"
    raise reasons[0] if reasons else BadSample(NO_CAPTION)


def _check_text(handle: int, member: Member, is_json: bool) -> None:
    if member.problem:
        raise BadSample(member.problem)
    if member.size > MOST_TEXT_BYTES:
        raise BadSample(TOO_LARGE)
    captions_of(os.pread(handle, member.size, member.at), is_json)


def _looks_like_an_image(head: bytes) -> bool:
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _packed(index: ShardIndex) -> bytes:
    bad = {cause: (count, index.bad.first[cause]) for cause, count in index.bad.counts.items()}
    facts = json.dumps({"bad": bad, "note": index.note, "left_out": index.left_out, "size": index.size})
    buffer = io.BytesIO()
    arrays = {name: getattr(index, name) for name in _ARRAYS} | {_HASHES: _hashes(index)}
    np.savez(buffer, facts=np.frombuffer(facts.encode(), np.uint8), **arrays)
    return buffer.getvalue()


def _load(path: Path) -> ShardIndex | None:
    """The cached index; None if it is missing or unreadable (it is then made again)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            arrays = {name: file[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    facts["bad"] = as_causes(facts["bad"])
    return ShardIndex(**arrays, **facts)
