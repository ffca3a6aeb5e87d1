# SPDX-License-Identifier: Apache-2.0
"""Keeps ``curves.png`` and ``report.html`` up to date while a run is under way, in a process of its own.

    python -m clip_align.report.live_report <nice> <run folder>       # started by LiveReport, told through stdin

Redraws are coalesced: whatever came in while one was drawn, or soon after it, is shown by the next one. The end is
drawn at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clip_align.processes.child import Child, be_nice, words
from clip_align.runs.folder import read_provenance

LIMIT_SECONDS = 5.0  # for the last redraw by the child, after which the parent draws itself
NARROW_SECONDS = 60.0  # between two drawings of the variant for narrow screens: half of a redraw's cost
APART = 2.0  # least time between two redraws, in times of the last one: a third of a processor at most
END = "end "
LOG = ".live.log"


class LiveReport:
    """Mirror of the record: figure and page. ``notify`` is told, once, when the child has died; training continues."""

    def __init__(self, folder: Path, notify: Callable[[str], None]) -> None:
        self._folder, self._notify = folder, notify
        self._child: Child | None = None
        try:
            self._child = Child("clip_align.report.live_report", [str(folder)], folder / LOG)
        except OSError as error:
            self._warn(error.strerror or str(error))

    def line(self, line: Mapping[str, Any]) -> None:
        """Have the images redrawn when the line is an evaluation."""
        if line.get("kind") not in ("evaluation", "benchmark") or self._child is None:
            return
        if not self._child.tell():
            reason = self._child.why()
            self._child = None
            self._warn(reason)

    def close(self, status: str) -> None:
        """Wait for the last redraw, or draw here when the child does not manage in time."""
        done = self._child is not None and self._child.end(f"{END}{status}", LIMIT_SECONDS)
        if not done:
            from clip_align.report.page import write  # matplotlib is loaded here only if it must be

            write(self._folder, status=status)
        (self._folder / LOG).unlink(missing_ok=True)

    def _warn(self, reason: str) -> None:
        self._notify(f"warning: live figure and page stopped ({reason}); they are drawn when the run ends")


def main(arguments: list[str]) -> int:
    """Redraw whenever told; the line ``end <status>``, or the end of the input, is the last time."""
    be_nice(int(arguments[0]))
    folder = Path(arguments[1])
    from clip_align.report.page import write

    narrow: bytes | None = None
    narrow_at = due = float("-inf")
    while True:
        told = words()
        while not _ended(told) and (left := due - time.monotonic()) > 0:
            told = words(left)
        start = time.monotonic()
        if _ended(told) or start - narrow_at > NARROW_SECONDS:
            narrow, narrow_at = None, start
        narrow = write(folder, status=_status(told, folder), narrow=narrow)
        if _ended(told):
            return 0
        due = time.monotonic() + APART * (time.monotonic() - start)


def _ended(told: list[str] | None) -> bool:
    return told is None or any(word.startswith(END) for word in told)


def _status(told: list[str] | None, folder: Path) -> str:
    """Status of a run whose process has told this; failed where it has gone without a word."""
    if told is None:
        status = str(read_provenance(folder).get("status") or "running")
        return "failed" if status == "running" else status
    return next((word.removeprefix(END) for word in told if word.startswith(END)), "running")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
