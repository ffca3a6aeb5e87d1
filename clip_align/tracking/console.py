# SPDX-License-Identifier: Apache-2.0
"""What a run shows: one calm live display on a terminal, plain lines elsewhere, and the same lines in train.log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from clip_align.record.record import History
from clip_align.tracking.console_lines import PROGRESS, Lines
from clip_align.tracking.run_status import Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESH_SECONDS = 0.5  # of the live display
PLAIN_SECONDS = 10.0  # between plain lines of training
ENDS = {"finished", "stopped"}  # events that end a run
QUIET = {"checkpoint"}  # events that only train.log names while the live display is on


class ConsoleMirror:
    """Mirror of the record on standard output (``stream``) and in train.log.

    ``interactive``: a terminal that can redraw. Time comes from ``clock`` (seconds), for tests.
    """

    def __init__(
        self,
        folder: Path,
        interactive: bool,
        past: History | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._interactive, self._clock = folder, interactive, clock
        self._lines, self._logged = Lines(stream, clock), Lines(stream, clock)
        self._work = ""  # what is being prepared, below the live display
        self._log: Path | None = folder / "train.log"
        self._status = Status(past)
        self._live: Live | None = None
        self._drawn_at = self._train_at = float("-inf")

    def notify(self, text: str) -> None:
        """A line about the preparation: a series of progress is kept calm, below the live display; else ``show``."""
        progress = PROGRESS.search(text)
        if progress is None:
            self.show(text)
            return
        if self._live is None:
            self._lines(text)
        else:
            self._work = text if progress["done"] != progress["total"] else ""
            self._redraw(force=not self._work)
        if self._logged.due(text):
            self._write_log(text)

    def show(self, text: str) -> None:
        """A line for the reader, above the live display, and in the log, whatever it says."""
        if self._live is None:
            self._lines.plain(text)
        else:
            self._live.console.print(text, markup=False, highlight=False)
        self._write_log(text)

    def log(self, text: str) -> None:
        """Text for train.log alone."""
        self._write_log(text)

    def line(self, line: Mapping[str, Any]) -> None:
        """Show one line of the record."""
        self._status.take(line)
        kind = line.get("kind")
        if kind == "train":
            if self._clock() - self._train_at >= PLAIN_SECONDS:
                self._train_at = self._clock()
                self._tell(self._status.train_line())
        elif kind == "evaluation":
            self._tell(self._status.evaluation_line())
        elif kind == "verdict":
            self.show(str(line.get("sentence") or f"{line.get('score')}: {line.get('word')}"))
        elif kind == "event":
            self._event(line)
        self._redraw(force=kind != "train")

    def close(self, status: str) -> None:
        """Leave the last state on the screen and say where the results are."""
        if self._live is not None:
            self._redraw(force=True)
            self._live.stop()
            self._live = None
        self.show(f"report: {self._folder / 'report.html'} (figure: curves.png, record: metrics.jsonl)")

    def _event(self, line: Mapping[str, Any]) -> None:
        text = str(line.get("message") or line.get("event"))
        if line.get("event") in QUIET:
            self._tell(text)
            return
        self.show(f"warning: {text}" if line.get("event") == "warning" else text)
        if line.get("event") in ENDS and (fraction := self._status.fraction_line()):
            self.show(fraction)
        if line.get("event") in ("started", "resumed") and self._interactive and self._live is None:
            from rich.live import Live

            self._live = Live(self._display(), auto_refresh=False, transient=False)
            self._live.start(refresh=True)

    def _tell(self, text: str) -> None:
        """A line of the run's own: only the log gets it while the live display shows the same."""
        if self._live is None:
            self._lines.plain(text)
        self._write_log(text)

    def _redraw(self, force: bool) -> None:
        if self._live is None or not (force or self._clock() - self._drawn_at >= REFRESH_SECONDS):
            return
        self._drawn_at = self._clock()
        self._live.update(self._display(), refresh=True)

    def _display(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        status = self._status
        table = Table.grid(padding=(0, 2))
        rows = status.rows()
        for texts in ([r.name for r in rows], [r.value for r in rows]):
            table.add_column(no_wrap=True, min_width=max(map(len, texts), default=0))
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        for row in rows:
            value = Text(row.value, style="bold" if row.drawn else "dim")
            table.add_row(Text(row.name), value, Text(row.remark or row.label))
        head = Table.grid(padding=(0, 2))
        head.add_column(width=24)
        head.add_column(no_wrap=True, overflow="ellipsis")
        if status.max_steps:
            head.add_row(ProgressBar(total=status.max_steps, completed=status.step), Text(status.train_line()))
        else:
            head.add_row(Text("training"), Text(status.train_line()))
        return Group(head, table, Text(self._work, style="dim")) if self._work else Group(head, table)

    def _write_log(self, text: str) -> None:
        if self._log is None:
            return
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        except OSError as error:
            self._log = None  # the display continues
            self.show(f"warning: train.log cannot be written ({error.strerror or error})")
