# SPDX-License-Identifier: Apache-2.0
"""Who evaluates which checkpoint, where several processes work on one record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = ".claims"  # below the record's folder


@contextlib.contextmanager
def claimed(folder: Path, step: int) -> Iterator[bool]:
    """Whether this process has the checkpoint of ``step`` to itself inside the block; False if another one has it.

    The claim ends with the block, or with the process, however that ends. Where the system or the file system has no
    locks every process gets it: a checkpoint may then be evaluated twice, with the same result.

    Args:
        folder: of the record.
        step: of the checkpoint.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    path = folder / FOLDER / f"{step:012d}"
    file = _opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # another process may have finished, and removed this name, between our open and our lock
        got = _same(file, path)
    except BlockingIOError:
        got = False
    except OSError:  # no locks here
        got = True
    try:
        yield got
    finally:
        if got:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty: others have claims
                path.parent.rmdir()
        os.close(file)


def _opened(path: Path) -> int:
    """Open the file of a claim, made where it is not there."""
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process has removed the folder, which was empty, since the line above
            continue


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
