# SPDX-License-Identifier: Apache-2.0
"""Names of curves and lines right of a panel, each at its own height, and the room that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from clip_align.report.labels import digits_for, named, number, spread_out
from clip_align.report.panels import Panel
from clip_align.report.score_curves import Curve
from clip_align.report.style import COLOURS, MUTED, TEXT_COLOURS, Layout

LINE = 1.2  # height of a line of names, in times of the font
OUTSIDE = 0.07  # inches that names may stand above and below the axes
HIGHEST = 3.0  # height of a cell for many names, in times of the usual one


@dataclass(frozen=True)
class Name:
    """What is written beside the axes at the height ``value``: a label, and its value as ``text``.

    ``reference``: it names a line, not a curve. ``keep_end``: the end of the label tells it from others.
    """

    value: float
    label: str
    text: str
    colour: str
    weight: str = "normal"
    reference: bool = False
    keep_end: bool = False


@lru_cache(maxsize=8192)  # names are broken into lines by trying: the same text is measured many times
def inches(font: FontProperties, text: str) -> float:
    """Width of a text."""
    return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def fitting(panel: Panel, layout: Layout) -> Layout:
    """The layout with cells high enough for every name of the panel, up to `HIGHEST` times the usual height."""
    line = layout.font * LINE / 72
    needed = sum(line * (_broken(n, layout).count("\n") + 1) for n in names_of(panel))
    height = max(layout.height, layout.top + layout.bottom + needed - 2 * OUTSIDE)
    return replace(layout, height=min(height, HIGHEST * layout.height))


def names_of(panel: Panel) -> list[Name]:
    """What is written beside a panel: names and values of its lines and curves."""
    low, high = limits(panel)
    digits = digits_for(high - low)
    place = places(panel)
    names = []
    for line in panel.references:
        spread = f" ±\xa0{number(line.spread, digits)}" if line.spread else ""
        text = f"{number(line.value, digits)}{spread}"
        colour = TEXT_COLOURS[place[line.owner]] if line.owner in place else MUTED
        names.append(Name(line.value, line.name, text, colour, reference=True, keep_end=bool(line.tag)))
    for bound in panel.bounds:
        value = bound.points[-1][1]
        names.append(Name(value, bound.label, number(value, digits), MUTED, reference=True))
    for index, curve in enumerate(panel.curves):
        names += _name_of(curve, (curve.place if curve.run else index) % len(TEXT_COLOURS), digits)
    return names


def _name_of(curve: Curve, place: int, digits: int) -> list[Name]:
    """A curve's name at the height of its last value; none where it never had one."""
    if not curve.defined:
        return []
    value, remark = curve.defined[-1].value or 0.0, curve.defined[-1].reason
    if curve.points[-1].value is None:
        remark = "now undefined"
    text = f"{number(value, digits)}{f' ({remark})' if remark else ''}"
    weight = "bold" if curve.role == "headline" and not curve.run else "normal"
    label = curve.run or curve.name
    return [Name(value, label, text, TEXT_COLOURS[place], weight, keep_end=bool(curve.run or curve.tag))]


def places(panel: Panel) -> Mapping[str, int]:
    """Index of each curve's colour by key."""
    return {curve.key: index % len(COLOURS) for index, curve in enumerate(panel.curves)}


def limits(panel: Panel) -> tuple[float, float]:
    """Limits that hold every value and reference line; intervals and bounds only inside the scores' widest limits."""
    points = [p for c in panel.curves for p in c.points if p.value is not None]
    values = [r.value for r in panel.references] + [p.value for p in points if p.value is not None]
    low, high = min([*values, panel.axis[0]]), max([*values, panel.axis[1]])
    wide = [v for p in points for v in (p.low, p.high) if v is not None]
    wide += [y for bound in panel.bounds for _, y in bound.points]
    values += [min(max(v, low), high) for v in wide]
    low, high = (min(values), max(values)) if values else panel.axis
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


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
    for (name, text), at, place in zip(boxes, wanted, spread_out(wanted, heights, -outside, 1 + outside), strict=True):
        axes.plot([1.005, 1.03], [at, place], transform=axes.transAxes, color=name.colour, lw=0.7, clip_on=False)
        axes.text(
            1.04, place, text, transform=axes.transAxes, va="center", size=layout.font - 0.7, color=name.colour,
            linespacing=1.05, weight=name.weight,
        )  # fmt: skip


def _broken(name: Name, layout: Layout) -> str:
    """The name in as many lines as the right margin has room for; one with a tag may take three."""
    room = layout.right - 0.04 * layout.axes_inches[0] - 0.06
    measure = partial(inches, FontProperties(size=layout.font - 0.7, weight=name.weight))
    return named(name.label, name.text, room, measure, lines=3 if name.keep_end else 2, tail=name.keep_end)
