# SPDX-License-Identifier: Apache-2.0
"""A record that is opened after the object that writes to it: whoever prepares must not yet leave a file behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from clip_align.record.record import Position, Record


class LateRecord:
    """Writes to ``_record`` like a `Record`, once a subclass has opened it; RuntimeError before.

    ``not_open``: why there is none, for that error.
    """

    not_open: ClassVar[str]

    def __init__(self) -> None:
        self._record: Record | None = None

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Write one line; arguments as for `Record.append`."""
        self._opened().append(kind, position, fields)

    def write_items(self, key: str, step: int, *columns: Any) -> None:
        """Write the items of one event; arguments as for `Record.write_items`."""
        self._opened().write_items(key, step, *columns)

    def items_differ(self, key: str, *columns: Any) -> Path | None:
        """The recorded items that differ from these; arguments as for `Record.items_differ`."""
        return self._opened().items_differ(key, *columns)

    def _opened(self) -> Record:
        if self._record is None:
            raise RuntimeError(self.not_open)
        return self._record
