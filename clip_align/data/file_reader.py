# SPDX-License-Identifier: Apache-2.0
"""Reading parts of files, from any number of processes."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

OPEN_AT_ONCE = 64  # file handles a process keeps


def open_file(path: str) -> BinaryIO:
    """The only place where training data are opened: other kinds of storage would be added here."""
    return open(path, "rb", buffering=0)


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
