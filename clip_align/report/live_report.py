# SPDX-License-Identifier: Apache-2.0
"""Keeps ``curves.png`` and ``report.html`` up to date while a run is under way, in a process of its own.

    python -m clip_align.report.live_report <nice> <run folder>       # started by LiveReport, woken through stdin

Redraws are coalesced: whatever came in while one was drawn, or soon after it, is shown by the next one. The end is
drawn at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from clip_align.processes.child import Child, be_nice, end_after_parent, words
from clip_align.record.record import Mirror
from clip_align.record.schema import AnyLine
from clip_align.report.style import REFRESH_SECONDS
from clip_align.runs.folder import RunFolder, read_provenance

LIMIT_SECONDS = 5.0  # for the last redraw by the child, after which the parent draws itself
APART = 2.0  # least time between two redraws, in times of the last one's CPU time: a third of a processor at most
LONGEST_APART = 15.0  # seconds
# Beside four busy processes on two cores the first figure took over 40 s at 10, and 21 s at 4; later ones 3 s.
NICE = 4
END = "end "
LOG = ".live.log"


class LiveReport(Mirror):
    """Mirror of the record: figure and page.

    ``notify`` gets a line about where the page is, and a warning, once, if the child dies; training continues.
    """

    def __init__(self, folder: Path, notify: Callable[[str], None]) -> None:
        self._folder, self._notify = folder, notify
        self._child: Child | None = None
        try:
            self._child = Child("clip_align.report.live_report", [str(folder)], folder / LOG, nice=NICE)
        except OSError as error:
            self._warn(error.strerror or str(error))
            return
        page = RunFolder(folder).report_html
        notify(f"live report: {page} (redrawn after each evaluation; an open page reloads every {REFRESH_SECONDS} s)")

    def line(self, line: AnyLine) -> None:
        """Have figure and page redrawn when the line is an evaluation."""
        if line["kind"] not in ("evaluation", "benchmark") or self._child is None:
            return
        if not self._child.tell():
            reason = self._child.why()
            self._child = None
            self._warn(reason)

    def close(self, status: str) -> None:
        """Wait for the last redraw, or draw here when the child does not manage in time."""
        done = self._child is not None and self._child.end(f"{END}{status}", LIMIT_SECONDS, self._waited)
        if not done:
            from clip_align.report.page import write  # matplotlib is loaded here only if it must be

            write(self._folder, status=status)
        (self._folder / LOG).unlink(missing_ok=True)

    def _waited(self, seconds: int) -> None:
        self._notify(f"report: being drawn for the last time ({seconds} s so far)")

    def _warn(self, reason: str) -> None:
        self._notify(f"warning: live figure and page stopped ({reason}); they are drawn when the run ends")


def main(arguments: list[str]) -> int:
    """Redraw whenever there is news; the line ``end <status>``, or the end of the input, is the last time."""
    be_nice(int(arguments[0]))
    folder = Path(arguments[1])
    from clip_align.report.page import write

    due = float("-inf")
    while True:
        received = words()
        while not _ended(received) and (left := due - time.monotonic()) > 0:
            received = words(left)
        worked = time.process_time()
        write(folder, status=_status(received, folder))
        if _ended(received):
            return 0
        # By CPU time, not by the clock: on a busy machine a redraw takes long because it waits, not because it works.
        due = time.monotonic() + min(LONGEST_APART, APART * (time.process_time() - worked))


def _ended(received: list[str] | None) -> bool:
    return received is None or any(word.startswith(END) for word in received)


def _status(received: list[str] | None, folder: Path) -> str:
    """Status of a run whose process has sent these words; failed where it has ended without any."""
    if received is None:
        status = str(read_provenance(folder).get("status") or "running")
        return "failed" if status == "running" else status
    return next((word.removeprefix(END) for word in received if word.startswith(END)), "running")


if __name__ == "__main__":
    end_after_parent()
    sys.exit(main(sys.argv[1:]))
