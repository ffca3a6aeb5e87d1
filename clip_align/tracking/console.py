# SPDX-License-Identifier: Apache-2.0
"""The output of a run: a live display on a terminal, plain lines elsewhere, and the same lines in train.log."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from clip_align.data.progress import Progress
from clip_align.errors import visible
from clip_align.record.record import History, Mirror
from clip_align.record.schema import AnyLine, EventLine, VerdictLine
from clip_align.tracking.console_lines import Lines
from clip_align.tracking.run_status import ENDS, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESH_SECONDS = 0.5  # of the live display
PLAIN_SECONDS = 10.0  # between plain lines of training
QUIET = {"checkpoint"}  # events written to train.log only while the live display is on


class ConsoleMirror(Mirror):
    """Mirror of the record on standard output and in train.log.

    Args:
        folder: of the run.
        interactive: whether to redraw a live display; needs a terminal.
        past: the record of a resumed run so far.
        stream: None: standard output.
        clock: time in seconds; replaced in tests.
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
        self._lines, self._logged = Lines(stream, clock), Lines(stream, clock)  # each limits its own rate
        self._work = ""  # progress of preparation, below the live display
        self._log: Path | None = folder / "train.log"
        self._status = Status(past)
        self._live: Live | None = None
        self._drawn_at = self._train_at = float("-inf")
        self._dark = False  # the screen could not be written

    def notify(self, what: str | Progress) -> None:
        """Show progress of preparation, at a limited rate and below the live display; other lines as in ``show``."""
        if not isinstance(what, Progress):
            self.show(what)
            return
        if self._live is None:
            self._on_screen(partial(self._lines, what))
        else:
            self._work = "" if what.finished else visible(str(what))
            self._redraw(force=not self._work)
        if self._logged.due(what):
            self._write_log(visible(str(what)))

    def show(self, text: str) -> None:
        """Print a line above the live display, and write it to the log.

        Control characters in it (it may name files and keys of data) are shown, not obeyed.
        """
        text = visible(text)
        if self._live is None:
            self._on_screen(partial(self._lines.plain, text))
        else:
            self._on_screen(partial(self._live.console.print, text, markup=False, highlight=False))
        self._write_log(text)

    def log(self, text: str) -> None:
        """Write a text to train.log only."""
        self._write_log(text)

    def line(self, line: AnyLine) -> None:
        """Show one line of the record."""
        self._status.take(line)
        kind = line["kind"]
        if kind == "train":
            if self._clock() - self._train_at >= PLAIN_SECONDS:
                self._train_at = self._clock()
                self._write(self._status.train_line())
        elif kind == "evaluation":
            self._write(self._status.evaluation_line())
        elif kind == "verdict":
            verdict = cast("VerdictLine", line)
            self.show(verdict["sentence"] or f"{verdict['score']}: {verdict['word']}")
        elif kind == "event":
            self._event(cast("EventLine", line))
        self._redraw(force=kind != "train")

    def rewind(self, step: int, samples: int) -> None:
        """Show scores up to ``step`` only."""
        self._status.rewind(step)

    def close(self, status: str) -> None:
        """Leave the last state on the screen and print the paths of the results."""
        if self._live is not None:
            self._redraw(force=True)
            self._on_screen(self._live.stop)
            self._live = None
        self.show(f"report: {self._folder / 'report.html'} (figure: curves.png, record: metrics.jsonl)")

    def _event(self, line: EventLine) -> None:
        event, text = line["event"], line["message"] or line["event"]
        if event in QUIET:
            self._write(text)
            return
        self.show(f"warning: {text}" if event == "warning" else text)
        if event in ENDS and (took := self._status.evaluation_time_line()):
            self.show(took)
        if event in ("started", "resumed") and self._interactive and self._live is None:
            from rich.live import Live  # slow to import, and needed on terminals only

            # redrawn by lines of the record only: a refresh thread would take time from training
            self._live = Live(self._display(), auto_refresh=False, transient=False)
            self._on_screen(partial(self._live.start, refresh=True))

    def _write(self, text: str) -> None:
        """A line about the run's progress: written to the log only while the live display shows the same."""
        if self._live is None:
            self._on_screen(partial(self._lines.plain, text))
        self._write_log(text)

    def _redraw(self, force: bool) -> None:
        if self._live is None or not (force or self._clock() - self._drawn_at >= REFRESH_SECONDS):
            return
        self._drawn_at = self._clock()
        self._on_screen(partial(self._live.update, self._display(), refresh=True))

    def _on_screen(self, draw: Callable[[], object]) -> None:
        """Stop using the screen after an error (a closed terminal, a full disk behind ``>``); train.log continues."""
        if self._dark:  # one warning, not one for every line
            return
        try:
            draw()
        except (OSError, ValueError) as error:  # ValueError: a closed stream, or a character it cannot encode
            self._dark = True
            self._write_log(f"warning: nothing can be shown any more ({getattr(error, 'strerror', None) or error})")

    def _display(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        status = self._status
        table = Table.grid(padding=(0, 2))
        rows = status.rows()
        # widths by the longest text, so that columns do not jump when values change
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
            self._log = None  # the display stays
            self.show(f"warning: train.log cannot be written ({error.strerror or error})")
