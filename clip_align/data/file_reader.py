# SPDX-License-Identifier: Apache-2.0
"""Reading parts of files, from any number of processes."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, BinaryIO

OPEN_AT_ONCE = 64  # file handles a process keeps
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}


def open_file(path: str) -> BinaryIO:
    """The only place where training data are opened: other kinds of storage would be added here.

    OSError for what is no regular file: a named pipe would wait for somebody to write into it, a device never end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not blocking: opening a pipe waits too
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a file", path)
        return open(handle, "rb", buffering=0)
    except BaseException:
        os.close(handle)
        raise


class Files:
    """Parts of files, by position; keeps the last used ones open. Picklable: handles stay behind."""

    def __init__(self) -> None:
        self._open: dict[str, BinaryIO] = {}

    def read(self, path: str, at: int, size: int) -> bytes:
        """``size`` bytes from byte ``at``; fewer at the end of the file."""
        # pread has no position of its own that a forked worker could share with its parent
        return os.pread(self._handle(path).fileno(), size, at)

    def _handle(self, path: str) -> BinaryIO:
        handle = self._open.pop(path, None) or open_file(path)
        self._open[path] = handle  # last used, last closed
        while len(self._open) > OPEN_AT_ONCE:
            self._open.pop(next(iter(self._open))).close()
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {"_open": {}}
