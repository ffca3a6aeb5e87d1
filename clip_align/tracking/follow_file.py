# SPDX-License-Identifier: Apache-2.0
"""Follows a record that another process appends to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.record.lines import whole
from clip_align.record.schema import AnyLine


class Tail:
    """Reads complete lines added since the last call; damaged lines are skipped, a partial line is read later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> Iterator[AnyLine]:
        """New lines, oldest first, with types checked and defaults filled in."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # before the first line
            return
        end = data.rfind(b"\n") + 1  # 0 where no line is complete
        self._offset += end
        yield from (line for raw in data[:end].split(b"\n") if (line := whole(raw)) is not None)
