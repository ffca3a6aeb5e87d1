# SPDX-License-Identifier: Apache-2.0
"""Draws one panel into matplotlib axes.

Curves and reference lines are named right of the axes, at their own height, instead of in a legend: they can be
told apart without matching colours. Colours are those of Okabe and Ito, and every curve has its own dash and marker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from clip_align.report.labels import (
    compress,
    count,
    digits_for,
    named,
    number,
    sample_ticks,
    spread_out,
    tick_texts,
    wrapped,
)
from clip_align.report.panels import Curve, Panel

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
TEXT_COLOURS = ("#005F96", "#B34E00", "#007A59", "#9C4677", "#946200", "#1F75A8", "#000000", "#6F5524")  # darker
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: dict[str, Any] = {"chance": (0, (1, 2)), "ceiling": "-", "baseline": (0, (4, 3))}
LONE_APART = 4.0  # points between the lone points of two curves, whose intervals would hide each other
MOST_REASONS = 12  # that are tried; few find room
INK, MUTED, FAINT = "#1a1a1a", "#5c5c5c", "#b4b4b4"


@dataclass(frozen=True)
class Layout:
    """Sizes in inches (font in points) of one cell of the figure; names stand in the right margin."""

    columns: int
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    font: float
    dpi: int
    note_characters: int
    note_lines: int
    tick_fraction: float  # least distance of ticks, as a fraction of the axis

    @property
    def axes_inches(self) -> tuple[float, float]:
        """Width and height of the axes."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom


WIDE = Layout(2, 6.1, 3.9, 0.52, 1.78, 0.62, 0.34, 8.5, 130, 104, 2, 0.13)
NARROW = Layout(1, 3.9, 3.45, 0.42, 1.18, 0.77, 0.30, 7.8, 200, 62, 3, 0.17)


@dataclass(frozen=True)
class Name:
    """What is written beside the axes at the height ``value``: a label, and its value as text."""

    value: float
    label: str
    said: str
    colour: str
    weight: str = "normal"
    of_run: bool = False


def inches(font: FontProperties, text: str) -> float:
    """Width of a text."""
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def draw(axes: Axes, panel: Panel, title: str, layout: Layout, linear: float) -> None:
    """One panel: frame, peak range, undefined stretches, reference lines, curves, names."""
    end = max((p.samples for c in panel.curves for p in c.points), default=0) or 1
    low, high = _limits(panel)
    span = high - low
    low -= 0.13 * span if panel.gaps else 0.0  # room for the reasons below the curves
    high += 0.08 * span if panel.peak else 0.0
    right = compress(end, linear)
    axes.set_xlim(-0.02 * right, 1.02 * right)
    axes.set_ylim(low, high)
    _frame(axes, panel, title, layout, end, linear)
    _peak(axes, panel, layout, linear)
    _undefined(axes, panel, layout, linear)
    digits = digits_for(span)
    names = _references(axes, panel, linear, digits)
    for index, curve in enumerate(panel.curves):
        names += _curve(axes, curve, curve.place if curve.run else index, linear, digits)
    _write_names(axes, names, layout, (low, high))


def _limits(panel: Panel) -> tuple[float, float]:
    """Limits that hold every value and reference line; intervals and bounds only inside the scores' widest limits."""
    points = [p for c in panel.curves for p in c.points if p.value is not None]
    values = [r.value for r in panel.references] + [p.value for p in points if p.value is not None]
    low, high = min([*values, panel.axis[0]]), max([*values, panel.axis[1]])
    wide = [y for _, y in panel.bound] + [v for p in points for v in (p.low, p.high) if v is not None]
    values += [min(max(v, low), high) for v in wide]
    low, high = (min(values), max(values)) if values else panel.axis
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _frame(axes: Axes, panel: Panel, title: str, layout: Layout, end: int, linear: float) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=layout.font - 0.5, colors=MUTED, length=3, width=0.6)
    ticks = sample_ticks(end, linear, layout.tick_fraction) if end > 1 else [0.0]
    axes.xaxis.set_major_locator(FixedLocator([compress(t, linear) for t in ticks]))
    axes.set_xticklabels([count(t) for t in ticks])
    low, high = axes.get_ylim()
    heights = [t for t in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
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


def _peak(axes: Axes, panel: Panel, layout: Layout, linear: float) -> None:
    """A bracket along the top: a wide range, which says little, must not colour the whole panel."""
    if panel.peak is None:
        return
    left, right = (compress(x, linear) for x in panel.peak)
    axes.plot([left, right], [0.93, 0.93], transform=axes.get_xaxis_transform(), color=MUTED, lw=1.2, marker="|", ms=5)
    end = axes.get_xlim()[1]
    axes.text(
        min(max((left + right) / 2, 0.14 * end), 0.86 * end), 0.985, "range of the peak", ha="center", va="top",
        transform=axes.get_xaxis_transform(), size=layout.font - 1.5, color=MUTED,
    )  # fmt: skip


def _undefined(axes: Axes, panel: Panel, layout: Layout, linear: float) -> None:
    """Hatch the undefined stretches; the widest first get their reasons written, as far as there is room."""
    taken: list[tuple[float, float]] = []  # fractions of the axis that a reason already fills
    start, end = axes.get_xlim()
    spans = [(compress(gap.start, linear), compress(gap.end, linear)) for gap in panel.gaps]
    corners = [corner for a, b in spans for corner in ((a, 0), (b, 0), (b, 1), (a, 1), (a, 0))]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(spans)
    outline = Path(np.reshape(corners, (-1, 2)), codes)  # one for all: hatching each takes 2 ms
    axes.add_patch(
        PathPatch(
            outline, transform=axes.get_xaxis_transform(), facecolor="#f5f5f5", edgecolor="#dedede", hatch="////",
            lw=0, zorder=0,
        )
    )  # fmt: skip
    widest = sorted(zip(panel.gaps, spans, strict=True), key=lambda g: g[1][0] - g[1][1])
    for gap, (left, right) in widest[:MOST_REASONS]:
        text = f"{panel.curves[0].label} {gap.absent}: {gap.reason}"
        _reason(axes, text, ((left - start) / (end - start), (right - start) / (end - start)), taken, layout)


def _reason(
    axes: Axes, text: str, place: tuple[float, float], taken: list[tuple[float, float]], layout: Layout
) -> None:
    """Write the reason along the bottom, from the stretch to whichever side has more room, if it is still free."""
    size = layout.font - 1.5
    characters = layout.axes_inches[0] * 72 / (0.56 * size)
    rightwards = 1 - place[0] >= place[1]
    text = wrapped(text, int((1 - place[0] if rightwards else place[1]) * characters) - 2, 2)
    fraction = max(len(line) for line in text.splitlines()) / characters
    here = (place[0], place[0] + fraction) if rightwards else (place[1] - fraction, place[1])
    if any(here[0] < b and a < here[1] for a, b in taken):
        return  # the page's words name it
    taken.append(here)
    axes.text(
        here[0] + 0.008 if rightwards else here[1] - 0.008, 0.015, text, ha="left" if rightwards else "right",
        va="bottom", transform=axes.transAxes, size=size, color=MUTED, zorder=5, linespacing=1.1,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )  # fmt: skip


def _references(axes: Axes, panel: Panel, linear: float, digits: int) -> list[Name]:
    names: list[Name] = []
    for line in panel.references:
        axes.axhline(line.value, color=FAINT, lw=0.9, ls=LINES[line.kind], zorder=1)
        spread = ""
        if line.spread:
            axes.axhspan(line.value - line.spread, line.value + line.spread, color=FAINT, alpha=0.3, lw=0, zorder=1)
            spread = f" ±\xa0{number(line.spread, digits)}"
        names.append(Name(line.value, line.label, f"{number(line.value, digits)}{spread}", MUTED))
    if panel.bound:
        xs = [compress(x, linear) for x, _ in panel.bound]
        marker = "_" if len(xs) == 1 else ""
        heights = [y for _, y in panel.bound]
        axes.plot(xs, heights, color=MUTED, lw=0.9, ls=LINES["baseline"], marker=marker, ms=9, zorder=1)
        names.append(Name(panel.bound[-1][1], panel.bound_label, number(panel.bound[-1][1], digits), MUTED))
    return names


def _curve(axes: Axes, curve: Curve, index: int, linear: float, digits: int) -> list[Name]:
    """Draw one curve with its band; gaps stay gaps. Returns its name, at the height of its last value."""
    defined = [(p.value, p.reason) for p in curve.points if p.value is not None]
    if not defined:
        return []
    headline, comparing = curve.role == "headline", bool(curve.run)
    xs = [compress(p.samples, linear) for p in curve.points]
    colour, nan = COLOURS[index % len(COLOURS)], float("nan")
    lows = [nan if p.value is None or p.low is None else p.low for p in curve.points]
    highs = [nan if p.value is None or p.high is None else p.high for p in curve.points]
    alpha = 0.20 if headline and not comparing else 0.10
    axes.fill_between(xs, lows, highs, color=colour, alpha=alpha, lw=0, zorder=2)
    values = [nan if p.value is None else p.value for p in curve.points]
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
        ls="-" if comparing else DASHES[index % len(DASHES)], marker=marker if len(xs) <= 80 else "", **look,
    )  # fmt: skip
    value, remark = defined[-1]
    if curve.points[-1].value is None:
        remark = "now undefined"
    said = f"{number(value, digits)}{f' ({remark})' if remark else ''}"
    weight = "bold" if headline and not comparing else "normal"
    label = curve.run if comparing else curve.label
    return [Name(value, label, said, TEXT_COLOURS[index % len(TEXT_COLOURS)], weight, comparing)]


def _lonely(curve: Curve, index: int) -> bool:
    """Whether a point has no drawn neighbour: a band cannot show its interval."""
    around = curve.points[max(index - 1, 0) : index] + curve.points[index + 1 : index + 2]
    return all(p.value is None for p in around)


def _write_names(axes: Axes, names: list[Name], layout: Layout, limits: tuple[float, float]) -> None:
    """Names at their own heights, moved apart where they would overlap, with a line to where they belong.

    Where they do not all fit, the last reference lines go without a name (the page's table has them).
    """
    line = layout.font * 1.2 / 72 / layout.axes_inches[1]  # height of a line as a fraction of the axes
    low, high = -0.03, 1.03
    boxes = [(n, _broken(n, layout)) for n in names]
    heights = [line * (text.count("\n") + 1) for _, text in boxes]
    while sum(heights) > high - low and any(n.colour == MUTED for n, _ in boxes):
        drop = max(i for i, (n, _) in enumerate(boxes) if n.colour == MUTED)
        del boxes[drop], heights[drop]
    span = limits[1] - limits[0]
    wanted = [min(max((n.value - limits[0]) / span, 0.0), 1.0) for n, _ in boxes]
    for (name, text), at, place in zip(boxes, wanted, spread_out(wanted, heights, low, high), strict=True):
        axes.plot([1.005, 1.03], [at, place], transform=axes.transAxes, color=name.colour, lw=0.7, clip_on=False)
        axes.text(
            1.04, place, text, transform=axes.transAxes, va="center", size=layout.font - 0.7, color=name.colour,
            linespacing=1.05, weight=name.weight,
        )  # fmt: skip


def _broken(name: Name, layout: Layout) -> str:
    """The name in as many lines as the right margin has room for."""
    room = layout.right - 0.04 * layout.axes_inches[0] - 0.06
    measure = partial(inches, FontProperties(size=layout.font - 0.7, weight=name.weight))
    return named(name.label, name.said, room, measure, tail=name.of_run)
