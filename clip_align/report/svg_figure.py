# SPDX-License-Identifier: Apache-2.0
"""Panels as inline SVG for a page: places and paths as text, which ``figure.html.j2`` puts into elements.

Colours, line widths and dashes are the page's (``figure.css``), so that a dark page has a dark figure. The same data
go along as JSON for ``figure.js``, which reads values out and changes the horizontal axis; without it all is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from clip_align.report.axis_limits import limits, side, value_ticks
from clip_align.report.figures import cells_of, described, linear_samples, numbered
from clip_align.report.labels import count, digits_for, interval, number, tick_texts
from clip_align.report.name_labels import Name, in_lines, names_of, places, spread_in_order
from clip_align.report.panels import Panel, tag_of
from clip_align.report.reference_lines import Bound
from clip_align.report.score_curves import Curve, Point, tagged
from clip_align.report.style import COLOURS
from clip_align.report.svg_marks import brackets, gap_texts, hatches, span, stretches
from clip_align.report.svg_paths import Frame, band_path, line_path
from clip_align.report.svg_scales import Plot, scales_of, step_at
from clip_align.report.thinned import thinned

WIDTH, LEFT, PLOT, TOP, BOTTOM = 640, 46, 384, 10, 24  # of the view box, in its units
HEIGHT, SMALL_HEIGHT = 250, 96  # of the plot
FONT, LINE = 12, 15  # size and height of a line of names
ROW = 22  # height of a row of brackets
MOST_MARKERS = 80  # points of a curve that has markers
MOST_ROWS = 40  # evaluations in a panel's table


def svg_cells(drawn: Sequence[Panel]) -> list[list[dict[str, Any]]]:
    """What the template needs of each panel, in the cells of the figure."""
    linear, titles = linear_samples(drawn), iter(numbered(drawn))
    number_of = {id(panel): i for i, panel in enumerate(drawn, 1)}
    return [
        [_panel(panel, f"panel-{number_of[id(panel)]}", next(titles), linear) for panel in cell]
        for cell in cells_of(drawn)
    ]


def _panel(panel: Panel, name: str, title: str, linear: float) -> dict[str, Any]:
    low, high = limits(panel)
    rows = list(brackets(panel))
    names = names_of(panel)
    broken = [in_lines(n, (WIDTH - LEFT - PLOT - 34) / 72, FONT).split("\n") for n in names]
    height = max(SMALL_HEIGHT if panel.small else HEIGHT, LINE * sum(map(len, broken)) - 2 * TOP)
    frame = Frame(LEFT, TOP + ROW * len(rows), PLOT, height, low, high)
    plot, place = Plot(frame, scales_of(panel, linear)), places(panel)
    curves = [_curve(c, (c.place if c.run else i) % len(COLOURS), plot) for i, c in enumerate(panel.curves)]
    return {
        "id": name,
        "title": title,
        "empty": panel.empty,
        "note": panel.note,
        "size": (WIDTH, frame.bottom + BOTTOM),
        "frame": frame,
        "y_ticks": _y_ticks(frame, panel.small),
        "x_ticks": [(round(plot.x(v), 1), text) for v, text in plot.scales["samples log"].ticks()],
        "references": [
            {"k": place.get(r.owner), "kind": r.kind, "y": frame.y(r.value), "side": side(r.value, (low, high)),
             "spread": r.spread and (frame.y(r.value + r.spread), frame.y(r.value - r.spread))}
            for r in panel.references
        ],
        "bounds": [_bound(panel, bound, plot) for bound in panel.bounds],
        "hatches": list(hatches(panel, plot)),
        "brackets": [
            {"k": k, "text": text, "y": TOP + ROW * row + ROW - 7,
             "spans": [span(plot, *ends) for ends in spans]}
            for row, (k, text, spans) in enumerate(rows)
        ],
        "stretches": list(stretches(panel, plot)),
        "curves": curves,
        "names": list(_names(frame, names, broken)),
        "legend": _legend(panel, names, curves, digits_for(high - low)),
        "context": panel.context,
        "captions": [m.sentence for m in panel.marks if m.sentence],
        "stretch_words": [tagged(s.words, tag_of(panel, m.key)) for m in panel.marks for s in m.stretches],
        "gaps": gap_texts(panel),
        "description": described(panel),
        "table": _table(panel, digits_for(high - low)),
        "data": _data(plot, curves),
    }  # fmt: skip


def _curve(curve: Curve, place: int, plot: Plot) -> dict[str, Any]:
    points = thinned(curve.points, plot.seen_on())
    placed = plot.placed(points)
    return {
        "k": place,
        "name": curve.run or curve.name,
        "single": curve.behind,
        "points": points,
        "role": curve.role if curve.run or not curve.leads or curve.role == "headline" else "lead",
        "marked": len(points) <= MOST_MARKERS and not curve.behind,
        "d": line_path(plot.frame, placed, place),
        "band": band_path(plot.frame, placed, place),
    }


def _bound(panel: Panel, bound: Bound, plot: Plot) -> dict[str, Any]:
    points = [Point(step_at(panel, samples), samples, value) for samples, value in bound.points]
    kept = thinned(points, plot.seen_on())
    return {
        "points": [[p.step, p.samples, _short(p.value), None, None] for p in kept],
        "d": line_path(plot.frame, plot.placed(kept), 0),
    }


def _y_ticks(frame: Frame, small: bool) -> list[tuple[float, str]]:
    ticks = value_ticks(frame.low, frame.high, 3 if small else 6)
    return [(frame.y(t), text) for t, text in zip(ticks, tick_texts(ticks), strict=True)]


def _names(frame: Frame, names: Sequence[Name], broken: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Names right of the plot at their own heights, with a line to where they belong."""
    wanted = [min(max(frame.y(n.value), frame.top), frame.bottom) for n in names]
    heights = [float(LINE * len(lines)) for lines in broken]
    room = (frame.top - TOP, frame.bottom + BOTTOM - 6)
    centres = spread_in_order([-n.value for n in names], wanted, heights, (float(room[0]), float(room[1])))
    for name, lines, at, centre in zip(names, broken, wanted, centres, strict=True):
        first = centre - LINE * (len(lines) - 1) / 2 + 0.34 * FONT
        yield {
            "k": name.place, "bold": name.bold, "at": round(at, 1), "centre": round(centre, 1),
            "lines": [(round(first + LINE * i, 1), line) for i, line in enumerate(lines)],
        }  # fmt: skip


def _legend(
    panel: Panel, names: Sequence[Name], curves: Sequence[dict[str, Any]], digits: int
) -> dict[str, list[dict[str, Any]]]:
    """Curves and lines with their values: what narrow screens show instead of the names beside the plot."""
    shown = [number(c.defined[-1].value, digits) if c.defined else "undefined" for c in panel.curves]
    kinds = [r.kind for r in panel.references] + ["bound"] * len(panel.bounds)
    lines = [n for n in names if n.reference]
    return {
        "curves": [{**c, "value": value} for c, value in zip(curves, shown, strict=True)],
        "lines": [
            {"k": n.place, "kind": k, "name": n.label, "value": n.text} for n, k in zip(lines, kinds, strict=True)
        ],
    }


def _table(panel: Panel, digits: int) -> dict[str, Any]:
    """The panel's values: a row for each evaluation, of many for every few."""
    found: dict[int, dict[int, Point]] = {}
    for index, curve in enumerate(panel.curves):
        for point in curve.points:
            found.setdefault(point.step, {})[index] = point
    steps = sorted(found)
    apart = math.ceil(len(steps) / MOST_ROWS) or 1
    kept = [s for i, s in enumerate(steps) if i % apart == 0 or i == len(steps) - 1]
    digits = max(3, digits)
    return {
        "apart": apart,
        "heads": [c.run or c.name for c in panel.curves],
        "rows": [
            (step, count(next(iter(found[step].values())).samples),
             [_cell(found[step].get(i), digits) for i in range(len(panel.curves))])
            for step in kept
        ],
    }  # fmt: skip


def _cell(point: Point | None, digits: int) -> str:
    if point is None:
        return ""
    if point.value is None:
        return point.absent
    band = interval(point.low, point.high, digits).replace(" ", "\xa0")
    return f"{number(point.value, digits)} {band}".strip()


def _data(plot: Plot, curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``figure.js`` needs: no text of the record's, which it takes from the page."""
    frame = plot.frame
    return {
        "frame": [frame.left, frame.top, frame.width, frame.height, frame.low, frame.high],
        "digits": max(3, digits_for(frame.high - frame.low)),
        "scales": {k: {"end": s.end, "linear": s.linear, "ticks": s.ticks()} for k, s in plot.scales.items()},
        "curves": [
            {"k": c["k"], "points": [[p.step, p.samples, *map(_short, (p.value, p.low, p.high))] for p in c["points"]]}
            for c in curves
        ],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
