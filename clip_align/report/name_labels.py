# SPDX-License-Identifier: Apache-2.0
"""Names of curves and lines right of a panel, each at its own height, and the room that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from clip_align.report.axis_limits import limits, side
from clip_align.report.labels import digits_for, named, number, spread_out, wrapped
from clip_align.report.panels import MOST_CURVES, Panel
from clip_align.report.score_curves import Curve
from clip_align.report.style import COLOURS, MUTED, TEXT_COLOURS, Layout

LINE = 1.2  # height of a line of names, in times of the font
OUTSIDE = 0.07  # inches that names may stand above and below the axes
ARROWS = {1: "↑\xa0", 0: "", -1: "↓\xa0"}  # before the name of a line that lies above or below the axis
SMALL = 0.5  # height of a small panel, in times of the usual one
CAPTION_LINES = 6  # of one sentence below a panel
HIGHEST = 3.0  # height of a cell for many names, in times of the usual one


@dataclass(frozen=True)
class Name:
    """What is written beside the axes at the height ``value``: a label, and its value as ``text``.

    ``place``: of the colour of the curve that it names or belongs to; None: of no curve's. ``reference``:
    it names a line, not a curve. ``keep_end``: the end of the label tells it from others.
    """

    value: float
    label: str
    text: str
    place: int | None
    bold: bool = False
    reference: bool = False
    keep_end: bool = False


@lru_cache(maxsize=8192)  # names are broken into lines by trying: the same text is measured many times
def inches(font: FontProperties, text: str) -> float:
    """Width of a text."""
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def fitting(panel: Panel, layout: Layout) -> Layout:
    """The layout with room for the panel's captions, and for its names up to `HIGHEST` times the usual height."""
    line = layout.font * LINE / 72
    if panel.small:
        layout = replace(layout, height=SMALL * layout.height)
    captions = sum(text.count("\n") + 1.4 for text in captions_of(panel, layout))
    layout = replace(layout, bottom=layout.bottom + line * captions, height=layout.height + line * captions)
    needed = sum(line * (_broken(n, layout).count("\n") + 1) for n in names_of(panel))
    height = max(layout.height, layout.top + layout.bottom + needed - 2 * OUTSIDE)
    return replace(layout, height=min(height, HIGHEST * layout.height))


def captions_of(panel: Panel, layout: Layout) -> list[str]:
    """The verdicts' sentences, in the lines in which they stand below the panel."""
    texts = [marks.sentence for marks in panel.marks if marks.sentence]
    return [wrapped(text, layout.note_characters, CAPTION_LINES) for text in texts]


def names_of(panel: Panel) -> list[Name]:
    """What is written beside a panel: names and values of its lines and curves."""
    low, high = limits(panel)
    digits = digits_for(high - low)
    place = places(panel)
    names = []
    for line in panel.references:
        spread = f" ±\xa0{number(line.spread, digits)}" if line.spread else ""
        text = f"{number(line.value, digits)}{spread}"
        label = ARROWS[side(line.value, (low, high))] + line.name
        names.append(Name(line.value, label, text, place.get(line.owner), reference=True, keep_end=bool(line.tag)))
    for bound in panel.bounds:
        value = bound.points[-1][1]
        names.append(Name(value, bound.label, number(value, digits), None, reference=True))
    few = len(panel.curves) <= MOST_CURVES  # else single runs have no name here
    for index, curve in enumerate(panel.curves):
        if curve.behind and not few:
            continue
        alike = curve.behind or (curve.run and not any(c.behind for c in panel.curves))  # none of them stands out
        names += _name_of(curve, (curve.place if curve.run else index) % len(TEXT_COLOURS), digits, bold=not alike)
    return names


def _name_of(curve: Curve, place: int, digits: int, *, bold: bool) -> list[Name]:
    """A curve's name at the height of its last value, bold where it is a headline; none where it never had one."""
    if not curve.defined:
        return []
    value, remark = curve.defined[-1].value or 0.0, curve.defined[-1].reason
    if curve.points[-1].value is None:
        remark = "now undefined"
    text = f"{number(value, digits)}{f' ({remark})' if remark else ''}"
    bold = bold and curve.role == "headline"
    return [Name(value, curve.run or curve.name, text, place, bold, keep_end=bool(curve.run or curve.tag))]


def places(panel: Panel) -> Mapping[str, int]:
    """Index of each curve's colour by key."""
    return {curve.key: index % len(COLOURS) for index, curve in enumerate(panel.curves)}


def write_names(axes: Axes, panel: Panel, layout: Layout, ends: tuple[float, float]) -> None:
    """Names at their own heights, moved apart where they would overlap, with a line to where they belong.

    Where they do not all fit, the last reference lines go without a name (the page's table has them).

    Args:
        axes: the panel's axes.
        panel: what is drawn in them.
        layout: sizes of the cell.
        ends: limits of the vertical axis.
    """
    line = layout.font * LINE / 72 / layout.axes_inches[1]  # height of a line as a fraction of the axes
    boxes = [(n, _broken(n, layout)) for n in names_of(panel)]
    heights = [line * (text.count("\n") + 1) for _, text in boxes]
    outside = OUTSIDE / layout.axes_inches[1]
    while sum(heights) > 1 + 2 * outside + 1e-9 and any(n.reference for n, _ in boxes):
        drop = max(i for i, (n, _) in enumerate(boxes) if n.reference)
        del boxes[drop], heights[drop]
    span = ends[1] - ends[0]
    wanted = [min(max((n.value - ends[0]) / span, 0.0), 1.0) for n, _ in boxes]
    places = spread_in_order([n.value for n, _ in boxes], wanted, heights, (-outside, 1 + outside))
    for (name, text), at, place in zip(boxes, wanted, places, strict=True):
        colour = MUTED if name.place is None else TEXT_COLOURS[name.place]
        axes.plot([1.005, 1.03], [at, place], transform=axes.transAxes, color=colour, lw=0.7, clip_on=False)
        axes.text(
            1.04, place, text, transform=axes.transAxes, va="center", size=layout.font - 0.7, color=colour,
            linespacing=1.05, weight="bold" if name.bold else "normal",
        )  # fmt: skip


def spread_in_order(
    values: Sequence[float], wanted: Sequence[float], heights: Sequence[float], room: tuple[float, float]
) -> list[float]:
    """Centres of the names as `spread_out` finds them; those that want the same end of the axis by their values.

    Args:
        values: of the lines and curves that are named.
        wanted: where each is, or the end of the axis it is marked at.
        heights: of the names, in the unit of ``wanted``.
        room: ends of the room for them.
    """
    order = sorted(range(len(values)), key=lambda i: (wanted[i], values[i]))
    found = spread_out([wanted[i] for i in order], [heights[i] for i in order], *room)
    return [found[order.index(i)] for i in range(len(values))]


def _broken(name: Name, layout: Layout) -> str:
    """The name in as many lines as the right margin has room for."""
    return in_lines(name, layout.right - 0.04 * layout.axes_inches[0] - 0.06, layout.font - 0.7)


def in_lines(name: Name, room: float, size: float) -> str:
    """The name in two lines at most; one that keeps its end may take three.

    Args:
        name: whose label is shortened where it has to be.
        room: width of a line in inches.
        size: of the font in points.
    """
    measure = partial(inches, FontProperties(size=size, weight="bold" if name.bold else "normal"))
    return named(name.label, name.text, room, measure, lines=3 if name.keep_end else 2, tail=name.keep_end)
