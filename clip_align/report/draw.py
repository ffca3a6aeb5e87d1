# SPDX-License-Identifier: Apache-2.0
"""Draws one panel into matplotlib axes.

Curves and reference lines are named right of the axes, at their own height, instead of in a legend: they can be
distinguished without matching colours. Colours are those of Okabe and Ito, and every curve has its own dash and marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import ScaledTranslation

from clip_align.report.axis_limits import limits, side, value_ticks
from clip_align.report.labels import compress, count, sample_ticks, tick_texts, wrapped
from clip_align.report.name_labels import LINE, captions_of, places, write_names
from clip_align.report.panels import BracketRow, Panel, bracket_rows
from clip_align.report.score_curves import Curve
from clip_align.report.style import COLOURS, FAINT, INK, MUTED, TEXT_COLOURS, Layout

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: dict[str, Any] = {"chance": (0, (1, 2)), "ceiling": "-", "baseline": (0, (4, 3))}
LONE_APART = 4.0  # points between the lone points of two curves, whose intervals would hide each other
MOST_REASONS = 12  # that are tried; few find room
STRIP_LINES = 1.25 * LINE  # height of the strip of an undefined headline, in times of the font
ROW = 0.08  # height of a row of brackets, of the axes
HATCH = "#dedede"


def draw(axes: Axes, panel: Panel, title: str, layout: Layout, linear: float) -> None:
    """One panel: frame, brackets, undefined stretches, reference lines, curves, stretches that rose or fell, names.

    Args:
        axes: empty axes of the size that ``layout`` says.
        panel: what to draw.
        title: the panel's first line.
        layout: sizes of the cell; `fitting` makes it as high as the names need.
        linear: where the horizontal axis turns from linear to logarithmic, in samples.
    """
    end = max((p.samples for c in panel.curves for p in c.points), default=0) or 1
    low, high = limits(panel)
    span = high - low
    undefined = list(dict.fromkeys(gap.key for gap in panel.gaps))
    strip = STRIP_LINES * layout.font / 72 / layout.axes_inches[1]  # height of one headline's strip, of the axes
    if undefined:  # room for the reasons below the curves
        below = 0.115 if len(undefined) == 1 else min(0.4, strip * len(undefined) + 0.01)
        low -= below / (1 - below) * span
    rows = list(bracket_rows(panel))
    high += ROW / (1 - ROW * len(rows)) * len(rows) * span
    right = compress(end, linear)
    axes.set_xlim(-0.02 * right, 1.02 * right)
    axes.set_ylim(low, high)
    _frame(axes, panel, title, layout, end, linear)
    _brackets(axes, panel, rows, layout, linear)
    if len(undefined) == 1:
        _undefined(axes, panel, layout, linear)
    for place, key in enumerate(undefined if len(undefined) > 1 else ()):
        _strip(axes, panel, key, (place * strip, strip), layout, linear)
    _draw_references(axes, panel, linear)
    for index, curve in enumerate(panel.curves):
        _curve(axes, curve, curve.place if curve.run else index, linear)
    _stretches(axes, panel, linear)
    if panel.empty:
        middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "color": MUTED}
        axes.text(0.5, 0.54, "undefined so far", size=layout.font, **middle)
    write_names(axes, panel, layout, (low, high))


def _frame(axes: Axes, panel: Panel, title: str, layout: Layout, end: int, linear: float) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=layout.font - 0.5, colors=MUTED, length=3, width=0.6)
    ticks = sample_ticks(end, linear, layout.tick_fraction) if end > 1 else [0.0]
    axes.xaxis.set_major_locator(FixedLocator([compress(t, linear) for t in ticks]))
    axes.set_xticklabels([count(t) for t in ticks])
    low, high = axes.get_ylim()
    heights = value_ticks(low, high)
    axes.yaxis.set_major_locator(FixedLocator(heights))
    axes.set_yticklabels(tick_texts(heights))
    axes.grid(axis="y", color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    width, height = layout.axes_inches
    left = -0.8 * layout.left / width
    note = wrapped(panel.note, layout.note_characters, layout.note_lines)
    common: dict[str, Any] = {"transform": axes.transAxes, "va": "top"}
    top = 1 + (layout.top - 0.10) / height  # both hang from the top of the cell, so that titles of a row align
    axes.text(left, top, title, size=layout.font + 1.5, color=INK, weight="bold", **common)
    axes.text(left, top - 0.19 / height, note, size=layout.font - 1, color=MUTED, linespacing=1.15, **common)
    below = layout.bottom - layout.font * LINE / 72 * sum(t.count("\n") + 1.4 for t in captions_of(panel, layout))
    for caption in captions_of(panel, layout):
        axes.text(left, -below / height, caption, size=layout.font - 1, color=INK, linespacing=1.15, **common)
        below += layout.font * LINE / 72 * (caption.count("\n") + 1.4)


def _brackets(axes: Axes, panel: Panel, rows: Sequence[BracketRow], layout: Layout, linear: float) -> None:
    """Brackets along the top: a wide range, which says little, must not colour the whole panel."""
    (start, end), place = axes.get_xlim(), places(panel)
    across = axes.get_xaxis_transform()
    for row, (marks, text, ranges) in enumerate(rows):
        curve, top = panel.curves[place[marks.key]], 1 - row * ROW
        colour = TEXT_COLOURS[place[marks.key]]
        spans = [[compress(curve.samples_at(step), linear) for step in steps] for steps in ranges]
        for span in spans:
            axes.plot(span, [top - 0.85 * ROW] * 2, transform=across, color=colour, lw=1.2, marker="|", ms=5)
            if text.startswith("windows"):
                axes.axvspan(span[0] - 0.004 * end, span[1] + 0.004 * end, color=colour, alpha=0.07, lw=0, zorder=0)
        size = layout.font - 1.5
        # of the text's width: DejaVu's small letters are .6 em wide; the margin's triangles need another two
        half = min(0.5, 0.3 * (len(text) + 2) * size / 72 / layout.axes_inches[0]) * (end - start)
        middle = min(max((spans[0][0] + spans[-1][1]) / 2, start + half), end - half)
        axes.text(middle, top - 0.1 * ROW, text, ha="center", va="top", transform=across, size=size, color=colour)


def _stretches(axes: Axes, panel: Panel, linear: float) -> None:
    """Parts of a curve that certainly rose or fell: broader, with a triangle in the middle that points there."""
    place = places(panel)
    for marks in panel.marks:
        points = panel.curves[place[marks.key]].defined
        for stretch in marks.stretches:
            on = [p for p in points if stretch.start <= p.step <= stretch.end]
            xs, ys = [compress(p.samples, linear) for p in on], [p.value or 0.0 for p in on]
            colour = COLOURS[place[marks.key]]
            axes.plot(xs, ys, color=colour, lw=8, alpha=0.45, solid_capstyle="butt", zorder=3.5)
            if on:
                marker, middle = "^" if stretch.direction == "rose" else "v", len(on) // 2
                axes.plot(xs[middle], ys[middle], ls="", marker=marker, ms=9, mfc="white", mec=colour, zorder=6)


def _strip(axes: Axes, panel: Panel, key: str, place: tuple[float, float], layout: Layout, linear: float) -> None:
    """Where one of several headlines is undefined: a strip of its own along the bottom, in its colour.

    ``place``: lower end and height of the strip, as fractions of the axes.
    """
    curve = next(c for c in panel.curves if c.key == key)
    colour, (bottom, height) = TEXT_COLOURS[places(panel)[key]], place
    start, end = axes.get_xlim()
    gaps = [g for g in panel.gaps if g.key == key]
    spans = [(compress(gap.start, linear), compress(gap.end, linear)) for gap in gaps]
    _hatch(axes, spans, (bottom, bottom + 0.92 * height), colour)
    gap, (left, right) = max(zip(gaps, spans, strict=True), key=lambda g: g[1][1] - g[1][0])
    characters = layout.axes_inches[0] * 72 / (0.54 * (layout.font - 1.5))
    rightwards = (left - start) / (end - start) < 0.5
    at = (left if rightwards else right) - start
    room = 1 - at / (end - start) if rightwards else at / (end - start)
    axes.text(
        (at / (end - start)) + (0.008 if rightwards else -0.008), bottom + 0.46 * height,
        wrapped(f"{curve.name} {gap.absent}: {gap.reason}", int(room * characters) - 2, 1),
        ha="left" if rightwards else "right", va="center", transform=axes.transAxes, size=layout.font - 1.5,
        color=colour, zorder=5, bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )  # fmt: skip


def _hatch(axes: Axes, spans: Sequence[tuple[float, float]], heights: tuple[float, float], colour: str) -> None:
    """Hatch these stretches of the axis between two heights, fractions of the axes."""
    low, high = heights
    corners = [corner for a, b in spans for corner in ((a, low), (b, low), (b, high), (a, high), (a, low))]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(spans)
    outline = Path(np.reshape(corners, (-1, 2)), codes)  # one for all: hatching each takes 2 ms
    axes.add_patch(
        PathPatch(
            outline, transform=axes.get_xaxis_transform(), facecolor="#f5f5f5", edgecolor=colour, hatch="////",
            lw=0, zorder=0, alpha=1.0 if colour == HATCH else 0.45,
        )
    )  # fmt: skip


def _undefined(axes: Axes, panel: Panel, layout: Layout, linear: float) -> None:
    """Hatch the undefined stretches; the widest first get their reasons written, as far as there is room."""
    curve = next(c for c in panel.curves if c.key == panel.gaps[0].key)
    taken: list[tuple[float, float]] = []  # fractions of the axis that a reason already fills
    start, end = axes.get_xlim()
    spans = [(compress(gap.start, linear), compress(gap.end, linear)) for gap in panel.gaps]
    _hatch(axes, spans, (0.0, 1.0), HATCH)
    widest = sorted(zip(panel.gaps, spans, strict=True), key=lambda g: g[1][0] - g[1][1])
    for gap, (left, right) in widest[:MOST_REASONS]:
        text = f"{curve.name} {gap.absent}: {gap.reason}"
        _reason(axes, text, ((left - start) / (end - start), (right - start) / (end - start)), taken, layout)


def _reason(
    axes: Axes, text: str, place: tuple[float, float], taken: list[tuple[float, float]], layout: Layout
) -> None:
    """Write the reason along the bottom, from the stretch to whichever side has more room, if it is still free."""
    size = layout.font - 1.5
    characters = layout.axes_inches[0] * 72 / (0.56 * size)
    rightwards = 1 - place[0] >= place[1]
    text = wrapped(text, int((1 - place[0] if rightwards else place[1]) * characters) - 2, 2)
    width = max(len(line) for line in text.splitlines()) / characters
    here = (place[0], place[0] + width) if rightwards else (place[1] - width, place[1])
    if any(here[0] < b and a < here[1] for a, b in taken):
        return  # the page's words name it
    taken.append(here)
    axes.text(
        here[0] + 0.008 if rightwards else here[1] - 0.008, 0.015, text, ha="left" if rightwards else "right",
        va="bottom", transform=axes.transAxes, size=size, color=MUTED, zorder=5, linespacing=1.1,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )  # fmt: skip


def _draw_references(axes: Axes, panel: Panel, linear: float) -> None:
    place = places(panel)
    ends = axes.get_ylim()
    for line in panel.references:
        owned = line.owner in place
        colour = COLOURS[place[line.owner]] if owned else FAINT
        if outside := side(line.value, ends):
            edge, marker = (1.0, "^") if outside > 0 else (0.0, "v")
            axes.plot(1, edge, transform=axes.transAxes, color=colour, marker=marker, ms=5, clip_on=False, zorder=5)
            continue
        axes.axhline(line.value, color=colour, lw=0.9, ls=LINES[line.kind], zorder=1, alpha=0.6 if owned else 1.0)
        if line.spread:
            low, high = line.value - line.spread, line.value + line.spread
            axes.axhspan(low, high, color=colour, alpha=0.15 if owned else 0.3, lw=0, zorder=1)
    for bound in panel.bounds:
        xs = [compress(x, linear) for x, _ in bound.points]
        marker = "_" if len(xs) == 1 else ""
        heights = [y for _, y in bound.points]
        axes.plot(xs, heights, color=MUTED, lw=0.9, ls=LINES["baseline"], marker=marker, ms=9, zorder=1)


def _curve(axes: Axes, curve: Curve, index: int, linear: float) -> None:
    """Draw one curve with its band; gaps stay gaps."""
    if not curve.defined:
        return
    headline, comparing = curve.role == "headline", bool(curve.run)
    xs = [compress(p.samples, linear) for p in curve.points]
    colour, nan = COLOURS[index % len(COLOURS)], float("nan")
    lows = [nan if p.value is None or p.low is None else p.low for p in curve.points]
    highs = [nan if p.value is None or p.high is None else p.high for p in curve.points]
    values = [nan if p.value is None else p.value for p in curve.points]
    if curve.behind:
        axes.plot(xs, values, lw=0.8, color=colour, alpha=0.5, zorder=2)
        return
    alpha = 0.20 if headline and not comparing else 0.10
    axes.fill_between(xs, lows, highs, color=colour, alpha=alpha, lw=0, zorder=2)
    look: dict[str, Any] = {"color": colour, "ms": 3.4 if headline else 2.6, "zorder": 4 if headline else 3}
    marker = MARKERS[index % len(MARKERS)]
    if alone := [i for i, p in enumerate(curve.points) if p.value is not None and _lonely(curve, i)]:
        beside = axes.transData + ScaledTranslation(LONE_APART * index / 72, 0, axes.figure.dpi_scale_trans)
        at = [xs[i] for i in alone]
        axes.vlines(at, [lows[i] for i in alone], [highs[i] for i in alone], color=colour, lw=1, transform=beside)
        axes.plot(at, [values[i] for i in alone], ls="", marker=marker, transform=beside, **look)
    lone = set(alone)
    joined = [nan if i in lone else value for i, value in enumerate(values)]
    axes.plot(
        xs, joined, lw=1.9 if headline else 1.2,
        ls=DASHES[index % len(DASHES)], marker=marker if len(xs) <= 80 else "", **look,
    )  # fmt: skip


def _lonely(curve: Curve, index: int) -> bool:
    """Whether a point has no drawn neighbour: a band cannot show its interval."""
    around = curve.points[max(index - 1, 0) : index] + curve.points[index + 1 : index + 2]
    return all(p.value is None for p in around)
