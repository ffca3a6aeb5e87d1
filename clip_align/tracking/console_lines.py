# SPDX-License-Identifier: Apache-2.0
"""Printed lines, with progress at a limited rate."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from clip_align.data.progress import Progress
from clip_align.errors import visible

QUIET_SECONDS = 4.0  # between progress lines of one series


class Lines:
    """Prints lines. Those about progress (``making images: 801 of 1,944, about 68 s left``) come in series.

    A series is one line that is overwritten on a terminal, elsewhere a line at most every four seconds, with its first
    and its last one. Time comes from ``clock`` (seconds), for tests.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stdout, clock
        if isinstance(self._stream, io.TextIOWrapper) and self._stream.errors == "strict":
            self._stream.reconfigure(errors="replace")  # "·" on a terminal that cannot show it
        self._series = ""
        self._at = float("-inf")
        self._open = False  # the terminal's last line may be overwritten

    def __call__(self, what: str | Progress) -> None:
        """Print a line, or drop a progress line that comes too soon. Control characters are made visible."""
        if not isinstance(what, Progress):
            self.plain(what)
        elif can_redraw(self._stream):
            width = shutil.get_terminal_size().columns
            self._open = not what.finished
            print(
                # back to the start, clear the line; a line that wraps could not be overwritten
                f"\r\x1b[2K{str(what)[: width - 1]}",
                end="\n" if what.finished else "",
                file=self._stream,
                flush=True,
            )
        elif self.due(what):
            print(what, file=self._stream, flush=True)

    def due(self, progress: Progress) -> bool:
        """Whether to print a progress line on a stream whose lines cannot be overwritten."""
        new = progress.what != self._series
        if not (new or progress.finished or self._clock() - self._at >= QUIET_SECONDS):
            return False
        self._series, self._at = progress.what, self._clock()
        return True

    def plain(self, text: str) -> None:
        """Print a line other than progress, below the overwritten one."""
        if self._open:
            print(file=self._stream)  # ends the line that could have been overwritten
            self._open = False
        print(visible(text), file=self._stream, flush=True)


def can_redraw(stream: TextIO) -> bool:
    """Whether lines can be overwritten: a terminal that rich does not classify as dumb."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
