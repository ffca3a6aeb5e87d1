# SPDX-License-Identifier: Apache-2.0
"""Follows a record that another process appends to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.record.lines import whole
from clip_align.record.schema import AnyLine


class Tail:
    """Whole lines that were added since the last call; a damaged line is passed over, half a line waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> Iterator[AnyLine]:
        """New lines, oldest first, as every reader of the record gets them."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._offset += end
        yield from (line for raw in data[:end].split(b"\n") if (line := whole(raw)) is not None)
