# SPDX-License-Identifier: Apache-2.0
"""Read parts of files, from any number of processes."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, BinaryIO

OPEN_AT_ONCE = 64  # file handles that a process keeps open
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}


def open_file(path: str) -> BinaryIO:
    """Open a file of training data for reading; the only place to add other kinds of storage.

    OSError for anything but a regular file: a named pipe would block, a device might never end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: opening a pipe would block too
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a file", path)
        return open(handle, "rb", buffering=0)  # a buffer would read more than is used
    except BaseException:  # no file object owns the descriptor yet
        os.close(handle)
        raise


class Files:
    """Read parts of files by position, keeping recently used files open. Picklable, without the handles."""

    def __init__(self) -> None:
        self._open: dict[str, BinaryIO] = {}

    def read(self, path: str, at: int, size: int) -> bytes:
        """Read bytes of a file; fewer than ``size`` at its end. OSError if it cannot be read.

        Args:
            path: of the file.
            at: first byte.
            size: number of bytes.
        """
        handle = self._open.pop(path, None) or open_file(path)
        self._open[path] = handle  # at the end of the dictionary: last used, last closed
        while len(self._open) > OPEN_AT_ONCE:
            self._open.pop(next(iter(self._open))).close()
        # pread does not use the file position, which forked workers have in common with their parent
        return os.pread(handle.fileno(), size, at)

    def __getstate__(self) -> dict[str, Any]:
        return {"_open": {}}
