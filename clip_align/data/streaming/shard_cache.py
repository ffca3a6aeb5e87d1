# SPDX-License-Identifier: Apache-2.0
"""A folder of downloaded shards with a limit of its size, used by any number of processes of a machine.

The accounts are the files themselves: what counts is the sum of their sizes, those being downloaded with their full
size. A shard in use is locked by its users (``flock``), a download by the process that makes it, so that what a killed
process leaves is not in use. When space is needed, shards that nobody uses are removed, the longest unused first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

PART = ".part"  # end of the name of a download
INDEX = ".npz"  # of an index of a shard, after its name and, for other rules than the default ones, their digest
_INDEXES = re.compile(r"(\.rules-[0-9a-f]{12})?\.npz$")
_LOOK_S = 0.1  # between two looks whether another process has finished a download

Fetch = Callable[[BinaryIO, Callable[[int | None], None]], None]  # into a file, announcing its size


class CacheFullError(Exception):
    """Everything in the folder is in use; the message says how much."""

    def __init__(self, size: int, used: int, limit: int) -> None:
        super().__init__(f"{used:,} of {limit:,} bytes are in use, {size:,} more are needed")


class Entry(NamedTuple):
    """A file of the cache: its path, its size in bytes with that of its indexes, and these."""

    path: Path
    size: int
    indexes: tuple[Path, ...] = ()


class Lease:
    """A shard that stays in the cache until `release`, or until this process ends. path: where it is."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path, self._handle = path, handle

    def release(self) -> None:
        """It may be removed from now on."""
        self._handle.close()  # and the lock with it


class ShardCache:
    """Downloaded shards.

    Args:
        folder: of the cache.
        limit: bytes of all files in it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def path(self, url: str) -> Path:
        """Where a shard is, or would be."""
        name = os.path.basename(urlsplit(url).path) or "shard"
        return self.folder / f"{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}-{name[-80:]}"

    def lease(self, url: str, fetch: Fetch) -> Lease:
        """A shard, downloaded if it is not there; while another process downloads it this one waits.

        Args:
            url: of the shard.
            fetch: downloads it.

        CacheFullError if there is no space for it; whatever ``fetch`` raises.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(url)
        part = path.with_name(path.name + PART)
        while True:
            if (lease := _leased(path)) is not None:
                return lease
            with open(part, "ab") as file:
                if not _locked(file, fcntl.LOCK_EX) or not _is_at(file, part):
                    time.sleep(_LOOK_S)  # another process downloads it, or has just finished
                    continue
                if path.exists():
                    part.unlink(missing_ok=True)
                    continue
                self._fill(part, fetch)
                os.replace(part, path)

    def _fill(self, part: Path, fetch: Fetch) -> None:
        def announced(size: int | None) -> None:
            if size is not None:
                self._reserve(part, size)

        try:
            with open(part, "r+b") as target:
                fetch(target, announced)
                target.flush()
                os.fsync(target.fileno())
                self._reserve(part, os.fstat(target.fileno()).st_size)  # where no size was announced
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def entries(self) -> list[Entry]:
        """The shards, with their indexes, and downloads; the longest unused first."""
        sizes, used, indexes = dict[str, int](), dict[str, float](), dict[str, tuple[Path, ...]]()
        with suppress(FileNotFoundError), os.scandir(self.folder) as files:
            for file in files:
                if file.name.startswith(".") or not file.is_file():
                    continue
                with suppress(FileNotFoundError):  # removed in between
                    status = file.stat()
                    name = _INDEXES.sub("", file.name)
                    if name != file.name:
                        indexes[name] = (*indexes.get(name, ()), self.folder / file.name)
                    sizes[name] = sizes.get(name, 0) + status.st_size
                    used[name] = max(used.get(name, 0.0), status.st_mtime)
        ordered = sorted(sizes, key=lambda name: (used[name], name))
        return [Entry(self.folder / name, sizes[name], indexes.get(name, ())) for name in ordered]

    def used(self) -> int:
        """Bytes of all files, downloads with their full size."""
        return sum(entry.size for entry in self.entries())

    def _reserve(self, part: Path, size: int) -> None:
        """Give a download its full size, removing unused shards for it; CacheFullError if that is impossible."""
        with self._alone():
            others = [entry for entry in self.entries() if entry.path != part]
            used = sum(entry.size for entry in others)
            for entry in others:
                if used + size <= self.limit:
                    break
                if _removed(entry):
                    used -= entry.size
            if used + size > self.limit:
                raise CacheFullError(size, used, self.limit)
            os.truncate(part, size)  # no blocks on the disk yet, but in the accounts of all processes

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.folder / ".lock", "ab") as lock:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _leased(path: Path) -> Lease | None:
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115  # open as long as it is in use
    except FileNotFoundError:
        return None
    try:
        if _locked(file, fcntl.LOCK_SH) and _is_at(file, path):
            os.utime(path)  # last used now
            return Lease(path, file)
    except FileNotFoundError:
        pass
    file.close()
    return None


def index_of(path: Path, rules: str = "") -> Path:
    """The file of the index of a shard. ``rules``: what the index depends on beside it (`SampleRules.of_index`)."""
    digest = f".rules-{hashlib.sha256(rules.encode()).hexdigest()[:12]}" if rules else ""
    return path.with_name(f"{path.name}{digest}{INDEX}")


def _removed(entry: Entry) -> bool:
    """Whether a file could be removed: nobody uses it."""
    try:
        with open(entry.path, "rb") as file:
            if not _locked(file, fcntl.LOCK_EX):
                return False
            entry.path.unlink(missing_ok=True)
    except FileNotFoundError:  # an index without its shard
        pass
    for index in (index_of(entry.path), *entry.indexes):
        index.unlink(missing_ok=True)
    return True


def _locked(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: better to read than to wait for ever
        return True
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one of its name."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(file.fileno())
    return (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino)
