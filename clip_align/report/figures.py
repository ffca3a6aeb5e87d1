# SPDX-License-Identifier: Apache-2.0
"""``curves.png`` and its one-column variant for narrow screens, drawn with matplotlib's Agg canvas."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from clip_align.record.record import History
from clip_align.record.schema import EventLine
from clip_align.report.draw import draw
from clip_align.report.labels import count, fitted, wrapped
from clip_align.report.name_labels import fitting, inches
from clip_align.report.panels import Panel, panels
from clip_align.report.score_variants import all_scores
from clip_align.report.style import INK, MUTED, WIDE, Layout
from clip_align.runs.folder import write_atomic

HEAD, FOOT = 0.30, 0.30  # inches above and below the panels


def curves(history: History, path: Path, *, title: str = "", layout: Layout = WIDE) -> None:
    """Write the figure of a run as PNG, atomically. Works with no evaluation at all.

    Args:
        history: the run's record.
        path: file to write.
        title: first line; by default the run's name and how far it has come.
        layout: sizes of the cells.
    """
    built = panels(all_scores(history))
    write_atomic(path, png(built, title=title or run_title(history), layout=layout, foot=footnote(history)))


@rc_context({"text.parse_math": False})  # a $ in a name or a reason is a $
def png(drawn: Sequence[Panel], *, title: str, foot: str, layout: Layout = WIDE) -> bytes:
    """The panels as PNG, in rows of ``layout.columns``; a row is as high as the names in it need.

    Args:
        drawn: panels in their order.
        title: one line above them, its end cut where it is too long.
        foot: small print below them.
        layout: sizes of the cells.
    """
    cells = [fitting(panel, layout).height for panel in drawn]
    rows = [max(cells[i : i + layout.columns]) for i in range(0, len(cells), layout.columns)] or [layout.height]
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
    for index, panel in enumerate(drawn):
        row, column = divmod(index, layout.columns)
        cell = replace(layout, height=rows[row])
        width, height = cell.axes_inches
        left, lower = column * cell.width + cell.left, HEAD + sum(rows[: row + 1]) - cell.bottom
        box = (left / size[0], 1 - lower / size[1], width / size[0], height / size[1])
        draw(figure.add_axes(box), panel, f"{index + 1}  {panel.title}", cell, linear)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 5})
    return buffer.getvalue()


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
    points = max((c.points for p in drawn for c in p.curves), key=len, default=())
    apart = sorted(b.samples - a.samples for a, b in pairwise(points) if b.samples > a.samples)
    return max(2.0 * apart[len(apart) // 2], 1.0) if apart else 1.0
