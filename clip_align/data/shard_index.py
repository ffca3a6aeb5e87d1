# SPDX-License-Identifier: Apache-2.0
"""The index of a tar: its usable samples and the positions of their bytes; made once, then cached.

The members with the same key form a sample: a ``jpg|jpeg|png|webp`` and a ``txt``, or a ``json`` with ``caption`` if no
txt has a caption. The extension is what follows the last dot, in upper or lower case; the key is everything before it,
folders included. Members need not be adjacent. A repeated extension under the same key begins another sample of that
key. Other extensions and hidden files are ignored. With `SampleRules` that leave samples out, or name other places of
captions, the index is another one, in a file of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clip_align.data.bad_samples import Causes, as_causes, causes_of
from clip_align.data.file_reader import open_file
from clip_align.data.key_hashes import key_hashes
from clip_align.data.sample_rules import ALL_SAMPLES, SampleRules
from clip_align.data.tar_members import CUT_OR_DAMAGED, Member, TarRefusedError, tar_members
from clip_align.data.tar_samples import ABSENT, sorted_samples
from clip_align.errors import Problem, UserError, visible
from clip_align.runs.folder import write_atomic

FORMAT = 3  # raised when the index of the same file changes
_ARRAYS = ("keys", "ends", "image", "text", "from_json")
_JSON = "json"  # a further array, where captions are drawn from several places
_HASHES = "key_hashes"  # beside them in the file; read only where samples are held out
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The N usable samples of one tar.

    keys: bytes of all keys, concatenated; ends: the end of each in ``keys``, int64 [N]. image, text: first byte and
    number of bytes, int64 [N, 2]. from_json: whether the caption is in a json, bool [N]. bad: samples left out.
    note: what is wrong with the end of the file, or empty. left_out: members that cannot be read by position, or empty.
    size: of the file in bytes. filtered: samples that do not meet the condition of the rules. fields: of the json, as
    far as it was read. json: as ``text``, of the json, where captions may be in both; None: they are in ``text``.
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
    filtered: Causes = field(default_factory=Causes)
    fields: tuple[str, ...] = ()
    json: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def found(self) -> int:
        """Number of samples in the tar, including bad ones and those filtered out."""
        return len(self) + self.bad.total + self.filtered.total

    def key(self, number: int) -> str:
        """Name of a sample for messages, in the form of `visible`."""
        start = int(self.ends[number - 1]) if number else 0
        return visible(self.keys[start : self.ends[number]].tobytes().decode("utf-8", "replace"))


class CacheError(UserError):
    """The cache cannot be written; the same error for all shards."""


def shard_index(path: str, cache: Path, rules: SampleRules = ALL_SAMPLES) -> ShardIndex:
    """The index of a tar, from the cache or made now. UserError if the file is not a tar or has no members.

    Args:
        path: of the tar.
        cache: folder of the cache.
        rules: which samples are used, and where their captions are.
    """
    return stored_index(path, index_file(path, cache, rules), rules)


def stored_index(path: str, cached: Path, rules: SampleRules = ALL_SAMPLES) -> ShardIndex:
    """The index of a tar, from the file ``cached`` or made now and written there. UserError as of `shard_index`.

    Args:
        path: of the tar.
        cached: a file of this tar and these rules.
        rules: see `shard_index`.
    """
    index = _load(cached)
    if index is None:
        index = read_index(path, rules)
        store_index(index, path, cached)
    return index


def hashes_of_keys(path: str, cache: Path, index: ShardIndex, rules: SampleRules = ALL_SAMPLES) -> NDArray[np.uint64]:
    """Hashes of the keys of a shard's samples [N], stored beside its index; made where an older release wrote that.

    Args:
        path: of the tar.
        cache: folder of the cache.
        index: of the tar.
        rules: that it was made with.
    """
    return stored_hashes(path, index_file(path, cache, rules), index)


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


def is_indexed(path: str, cache: Path, rules: SampleRules = ALL_SAMPLES) -> bool:
    """Whether the cache has a file for the tar in its present state; the file may turn out to be unreadable.

    Arguments as of `shard_index`.
    """
    try:
        return index_file(path, cache, rules).is_file()
    except OSError:
        return False


def index_file(path: str, cache: Path, rules: SampleRules = ALL_SAMPLES) -> Path:
    """Where the index of a tar is, in its present state, in the folder of the cache; OSError for no file.

    Arguments as of `shard_index`.
    """
    status = os.stat(path)
    name = f"{FORMAT}|{os.path.realpath(path)}|{status.st_size}|{status.st_mtime_ns}"
    name += f"|{rules.of_index}" if rules.of_index else ""
    return cache / "index" / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"


def read_index(path: str, rules: SampleRules = ALL_SAMPLES) -> ShardIndex:
    """The index of a tar, read from the tar itself. ``rules``: see `shard_index`."""
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
        found = sorted_samples(file.fileno(), members, note.startswith(CUT_OR_DAMAGED), rules)
    usable = found.usable
    return ShardIndex(
        np.frombuffer(b"".join(one.key for one in usable), np.uint8),
        np.cumsum([len(one.key) for one in usable], dtype=np.int64),
        _places(one.image for one in usable),
        _places(one.text for one in usable),
        np.array([one.is_json for one in usable], np.bool_),
        found.bad,
        note,
        str(causes_of((m.problem, m.name.decode("utf-8", "replace")) for m in members if m.problem)),
        size,
        found.filtered,
        tuple(found.fields),
        _places(one.json or ABSENT for one in usable) if rules.fields else None,
    )


def _places(members: Iterable[Member]) -> NDArray[np.int64]:
    return np.array([(member.at, member.size) for member in members], np.int64).reshape(-1, 2)


def _without_members(file: BinaryIO, note: str) -> str:
    if os.pread(file.fileno(), 2, 0) == _GZIP:
        return "is compressed; samples are read by position: unpack it with gunzip"
    if note.startswith("is damaged"):
        return "is not a tar; leave it out"
    return f"{note}, before its first file; fetch it again or leave it out" if note else "is an empty tar; leave it out"


def _packed(index: ShardIndex) -> bytes:
    facts = {"bad": _plain(index.bad), "note": index.note, "left_out": index.left_out, "size": index.size}
    if index.filtered.total or index.fields:  # only where there are rules: an older release knows no further facts
        facts |= {"filtered": _plain(index.filtered), "fields": index.fields}
    buffer = io.BytesIO()
    arrays = {name: getattr(index, name) for name in _ARRAYS} | {_HASHES: _hashes(index)}
    if index.json is not None:
        arrays[_JSON] = index.json
    np.savez(buffer, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
    return buffer.getvalue()


def _plain(causes: Causes) -> dict[str, tuple[int, str]]:
    return {cause: (count, causes.first[cause]) for cause, count in causes.counts.items()}


def _load(path: Path) -> ShardIndex | None:
    """The cached index; None if it is missing or unreadable (it is then made again)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            arrays = {name: file[name] for name in (*_ARRAYS, *([_JSON] if _JSON in file else []))}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    for name in ("bad", "filtered"):
        if name in facts:
            facts[name] = as_causes(facts[name])
    facts["fields"] = tuple(facts.get("fields", ()))
    return ShardIndex(**arrays, **facts)
