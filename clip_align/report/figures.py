# SPDX-License-Identifier: Apache-2.0
"""``curves.png``, and the same figure as SVG or PDF, drawn with matplotlib."""

from __future__ import annotations

import io
import itertools
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from clip_align.errors import visible
from clip_align.record.record import History
from clip_align.record.schema import EventLine
from clip_align.report.draw import draw
from clip_align.report.labels import count, fitted, number, wrapped
from clip_align.report.name_labels import fitting, inches
from clip_align.report.panels import Panel
from clip_align.report.style import INK, MUTED, WIDE, Layout
from clip_align.runs.folder import write_atomic

SUFFIXES = (".png", ".svg", ".pdf")
HEAD, FOOT = 0.30, 0.30  # inches above and below the panels


def write_figure(path: Path, drawn: Sequence[Panel], *, title: str, foot: str) -> None:
    """Write the panels into a file, atomically, in the format that its ending names (`SUFFIXES`).

    Args:
        path: file to write.
        drawn: panels in their order; there may be none.
        title: one line above them, its end cut where it is too long.
        foot: small print below them.
    """
    write_atomic(path, image(drawn, title=title, foot=foot, suffix=path.suffix))


# a $ in a name or a reason is a $; the salt makes the ids of an SVG the same each time
@rc_context({"text.parse_math": False, "svg.hashsalt": "clip-align"})
def image(drawn: Sequence[Panel], *, title: str, foot: str, suffix: str = ".png") -> bytes:
    """The panels as an image; the same record gives the same bytes.

    Args:
        drawn, title, foot: as of `write_figure`.
        suffix: ``.png``, ``.svg`` or ``.pdf``.
    """
    figure, buffer = _figure(drawn, title, foot, WIDE), io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        ".png": {"pil_kwargs": {"compress_level": 5}},
        ".svg": {"metadata": {"Date": None}},
        ".pdf": {"metadata": {"Title": title, "CreationDate": None}},
    }
    figure.savefig(buffer, format=suffix[1:], **options[suffix])
    return _named(buffer.getvalue(), title, drawn) if suffix == ".svg" else buffer.getvalue()


def _named(svg: bytes, title: str, drawn: Sequence[Panel]) -> bytes:
    """The SVG with a role, a title and a description, for those who cannot see it."""
    words = " ".join(f"{panel.title}: {described(panel)}" for panel in drawn)
    names = f"<title>{escape(visible(title))}</title><desc>{escape(visible(words))}</desc>"
    return re.sub(rb"<svg ([^>]*)>", lambda m: b'<svg role="img" ' + m[1] + b">" + names.encode(), svg, count=1)


def described(panel: Panel) -> str:
    """A panel in words, for those who cannot see it."""
    values = [f"{c.run or c.name} {number(c.defined[-1].value)}" for c in panel.curves if c.defined]
    return f"Curves over samples seen; latest values: {', '.join(values) or 'undefined'}."


def _figure(drawn: Sequence[Panel], title: str, foot: str, layout: Layout) -> Figure:
    """The panels in rows of ``layout.columns`` cells; a row is as high as the names in it need."""
    cells = cells_of(drawn)
    grid = [_aligned(cells[i : i + layout.columns], layout) for i in range(0, len(cells), layout.columns)]
    rows = [sum(cell.height for cell in row[0]) for row in grid] or [layout.height]
    foot = wrapped(foot, layout.note_characters * layout.columns, 5)
    size = (layout.columns * layout.width, sum(rows) + HEAD + FOOT + 0.14 * foot.count("\n"))
    figure = Figure(figsize=size, dpi=layout.dpi, facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global
    font = FontProperties(size=layout.font + 1, weight="bold")
    shown = fitted(title, size[0] - 0.3, partial(inches, font))
    figure.text(0.1 / size[0], 1 - 0.13 / size[1], shown, va="top", font=font, color=INK)
    figure.text(0.1 / size[0], 0.08 / size[1], foot, va="bottom", size=layout.font - 0.8, color=MUTED)
    if not drawn:
        figure.text(0.5, 0.5, "no evaluation yet", ha="center", va="center", size=layout.font + 3, color=MUTED)
    linear = linear_samples(drawn)
    layouts = [cell for row in grid for cell in row]
    numbers = iter(numbered(drawn))
    for index, (panels_in, sizes) in enumerate(zip(cells, layouts, strict=True)):
        row, column = divmod(index, layout.columns)
        upper = HEAD + sum(rows[:row])
        for panel, cell in zip(panels_in, sizes, strict=True):
            width, height = cell.axes_inches
            left, lower = column * cell.width + cell.left, upper + cell.height - cell.bottom
            box = (left / size[0], 1 - lower / size[1], width / size[0], height / size[1])
            draw(figure.add_axes(box), panel, next(numbers), cell, linear)
            upper += cell.height
    return figure


def numbered(drawn: Sequence[Panel]) -> list[str]:
    """Titles with a number for each family, and a letter where it has several panels: ``2b  Human alignment: …``."""
    found, counted = [], Counter(panel.name for panel in drawn)
    seen: Counter[str] = Counter()
    for panel in drawn:
        letter = string.ascii_lowercase[seen[panel.name] % 26] if counted[panel.name] > 1 else ""
        seen[panel.name] += 1
        found.append(f"{len(seen)}{letter}  {panel.title}")
    return found


def cells_of(drawn: Sequence[Panel]) -> list[tuple[Panel, ...]]:
    """One panel a cell; two small ones that follow each other share one."""
    cells: list[tuple[Panel, ...]] = []
    for panel in drawn:
        if panel.small and cells and len(cells[-1]) == 1 and cells[-1][0].small:
            cells[-1] = (*cells[-1], panel)
        else:
            cells.append((panel,))
    return cells


def _aligned(cells: Sequence[tuple[Panel, ...]], layout: Layout) -> list[list[Layout]]:
    """Layouts of the panels of a row of cells: all cells equally high, axes of whole cells on one line."""
    found = [[fitting(panel, layout) for panel in cell] for cell in cells]
    single = [cell[0] for cell in found if len(cell) == 1]
    bottom = max((cell.bottom for cell in single), default=0.0)
    axes = max((cell.height - cell.bottom for cell in single), default=0.0)  # with the title above them
    height = max(bottom + axes, *(sum(c.height for c in cell) for cell in found))
    return [
        [replace(c, height=height * c.height / sum(x.height for x in cell)) for c in cell]
        if len(cell) > 1
        else [replace(cell[0], bottom=bottom, height=height)]
        for cell in found
    ]


def started(history: History) -> EventLine | None:
    """The line with which the run, or its last resumption, began; None where there is none."""
    return next((e for e in reversed(history.events) if e["event"] in ("started", "resumed")), None)


def max_steps(history: History) -> int | None:
    """Where the run ends, in optimizer steps, as far as its record says so."""
    start = started(history)
    return start.get("max_steps") if start else None


def run_title(history: History) -> str:
    """Name of the run and how far it has come."""
    start, end = started(history), max_steps(history)
    parts = [(start.get("run") if start else None) or "clip-align"]
    if history.evaluations:
        last = history.evaluations[-1]
        step = f"evaluated up to step {last['global_step']}"
        parts.append(f"{step} of {end}" if end else step)
        parts.append(f"{count(last['samples_seen'])} samples seen")
    return " · ".join(parts)


def footnote(history: History) -> str:
    """What the axes, the bands and the hatching mean."""
    start = started(history)
    batch = start.get("global_batch") if start else None
    step = f" (1 step = {batch} samples)" if batch else ""
    return (
        f"Horizontal axis: samples seen{step}, linear near 0, then logarithmic. Bands: 95 % intervals. "
        "Hatched: undefined, with the reason."
    )


def linear_samples(drawn: Sequence[Panel]) -> float:
    """Where the axis turns from linear to logarithmic: at twice the usual distance between evaluations.

    So the early evaluations do not lie on one another, and the second half of a run still has room for a fall.
    """
    of_scores = [p for p in drawn if not p.small] or drawn
    points = max((c.points for p in of_scores for c in p.curves), key=len, default=())
    apart = sorted(b.samples - a.samples for a, b in itertools.pairwise(points) if b.samples > a.samples)
    return max(2.0 * apart[len(apart) // 2], 1.0) if apart else 1.0
