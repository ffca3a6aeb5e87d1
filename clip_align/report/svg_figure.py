# SPDX-License-Identifier: Apache-2.0
"""Panels as inline SVG for a page: places and paths as text, which ``figure.html.j2`` puts into elements.

Colours, line widths and dashes are the page's (``figure.css``), so that a dark page has a dark figure. The same data
go along as JSON for ``figure.js``, which reads values out and changes the horizontal axis; without it all is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from clip_align.report.axis_limits import limits, side, value_ticks
from clip_align.report.figures import cells_of, described, linear_samples, numbered
from clip_align.report.labels import compress, count, digits_for, interval, number, sample_ticks, tick_texts
from clip_align.report.name_labels import in_lines, names_of, places, spread_in_order
from clip_align.report.panels import Panel
from clip_align.report.score_curves import Curve, Point, tagged
from clip_align.report.style import COLOURS
from clip_align.report.svg_paths import Frame, band_path, line_path
from clip_align.report.thinned import thinned
from clip_align.report.verdict_marks import Steps

WIDTH, LEFT, PLOT, TOP, BOTTOM = 640, 46, 384, 10, 24  # of the view box, in its units
HEIGHT, SMALL_HEIGHT = 250, 96  # of the plot
FONT, LINE = 12, 15  # size and height of a line of names
ROW = 22  # height of a row of brackets
MOST_MARKERS = 80  # points of a curve that has markers
MOST_ROWS = 40  # evaluations in a panel's table
MOST_GAPS = 6  # stretches without a value that are listed


@dataclass(frozen=True)
class Scale:
    """A horizontal axis from 0 to ``end`` (samples or steps), logarithmic beyond ``linear`` where that is given."""

    end: float
    linear: float | None

    def place(self, value: float) -> float:
        """0 at the start, 1 at the end."""
        if self.linear is None:
            return value / self.end
        return compress(value, self.linear) / compress(self.end, self.linear)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their texts."""
        found = sample_ticks(self.end, self.linear, 0.13) if self.linear else value_ticks(0, self.end, 5)
        return [(tick, count(tick)) for tick in found] if self.end > 1 else [(0.0, "0")]


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
    brackets = list(_brackets(panel))
    names = names_of(panel)
    broken = [in_lines(n, (WIDTH - LEFT - PLOT - 34) / 72, FONT).split("\n") for n in names]
    height = max(SMALL_HEIGHT if panel.small else HEIGHT, LINE * sum(map(len, broken)) - 2 * TOP)
    frame = Frame(LEFT, TOP + ROW * len(brackets), PLOT, height, low, high)
    scales = _scales(panel, linear)
    scale = scales["samples log"]
    place, across = places(panel), partial(_across, frame, scale)
    curves = [_curve(c, (c.place if c.run else i) % len(COLOURS), scales) for i, c in enumerate(panel.curves)]
    for curve in curves:
        points = [(across(p.samples), p.value, p.low, p.high) for p in curve["points"]]
        curve |= {"d": line_path(frame, points, curve["k"]), "band": band_path(frame, points, curve["k"])}
    return {
        "id": name,
        "title": title,
        "note": panel.note,
        "small": panel.small,
        "size": (WIDTH, frame.bottom + BOTTOM),
        "frame": frame,
        "unit": "samples seen",
        "y_ticks": _y_ticks(frame, panel.small),
        "x_ticks": [(round(across(v), 1), text) for v, text in scale.ticks()],
        "references": [
            {"k": place.get(r.owner), "kind": r.kind, "y": frame.y(r.value), "side": side(r.value, (low, high)),
             "spread": r.spread and (frame.y(r.value + r.spread), frame.y(r.value - r.spread))}
            for r in panel.references
        ],
        "bounds": [line_path(frame, [(across(x), y, None, None) for x, y in b.points], 0) for b in panel.bounds],
        "bound_points": [[[_step_at(panel, x), x, y, None, None] for x, y in b.points] for b in panel.bounds],
        "hatches": list(_hatches(panel, frame, across)),
        "brackets": [
            {"k": k, "text": text, "y": TOP + ROW * row + ROW - 7,
             "spans": [_span(across, *ends) for ends in spans]}
            for row, (k, text, spans) in enumerate(brackets)
        ],
        "stretches": list(_stretches(panel, frame, across)),
        "curves": curves,
        "names": list(_names(frame, names, broken)),
        "legend": _legend(panel, names, curves),
        "context": panel.context,
        "captions": [m.sentence for m in panel.marks if m.sentence],
        "stretch_words": [tagged(s.words, _tag(panel, m.key)) for m in panel.marks for s in m.stretches],
        "gaps": _gap_texts(panel),
        "description": described(panel),
        "table": _table(panel),
        "data": _data(panel, frame, scales, curves),
    }  # fmt: skip


def _scales(panel: Panel, linear: float) -> dict[str, Scale]:
    points = [p for c in panel.curves for p in c.points]
    samples, steps = max((p.samples for p in points), default=1) or 1, max((p.step for p in points), default=1) or 1
    return {
        "samples log": Scale(samples, linear),
        "samples linear": Scale(samples, None),
        "steps log": Scale(steps, linear * steps / samples),
        "steps linear": Scale(steps, None),
    }


def _across(frame: Frame, scale: Scale, samples: float) -> float:
    return frame.x(scale.place(samples))


def _curve(curve: Curve, place: int, scales: dict[str, Scale]) -> dict[str, Any]:
    points = thinned(curve.points, [scales["samples log"].place, scales["samples linear"].place])
    return {
        "k": place,
        "name": curve.run or curve.name,
        "single": curve.behind,
        "points": points,
        "role": curve.role if curve.run or not curve.leads or curve.role == "headline" else "lead",
        "marked": len(points) <= MOST_MARKERS and not curve.behind,
    }


def _y_ticks(frame: Frame, small: bool) -> list[tuple[float, str]]:
    ticks = value_ticks(frame.low, frame.high, 3 if small else 6)
    return [(frame.y(t), text) for t, text in zip(ticks, tick_texts(ticks), strict=True)]


def _span(across: Any, start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    """A range of (step, samples) with its place: at least two units wide, for a window of step 0 alone."""
    left, right = across(start[1]), across(end[1])
    wide = max(right - left, 2.0)
    return {"x": round(left, 1), "width": round(wide, 1), "from": f"{start[0]} {start[1]}", "to": f"{end[0]} {end[1]}"}


def _tag(panel: Panel, key: str) -> str:
    return next((c.tag for c in panel.curves if c.key == key), "") if len(panel.marks) > 1 else ""


Ends = tuple[tuple[int, int], tuple[int, int]]  # (step, samples) at the start and at the end


def _brackets(panel: Panel) -> Iterator[tuple[int, str, list[Ends]]]:
    """What is bracketed along the top, a row for each: place of its colour, words, ranges."""
    place = places(panel)
    for marks in panel.marks:
        curve = panel.curves[place[marks.key]]

        def ends(steps: Steps, curve: Curve = curve) -> Ends:
            return (steps[0], curve.samples_at(steps[0])), (steps[1], curve.samples_at(steps[1]))

        tag = _tag(panel, marks.key)
        if marks.windows:
            yield place[marks.key], tagged("windows compared", tag), [ends(w) for w in marks.windows]
        if marks.peak:
            yield place[marks.key], tagged("range of the peak", tag), [ends(marks.peak)]


def _stretches(panel: Panel, frame: Frame, across: Any) -> Iterator[dict[str, Any]]:
    place = places(panel)
    for marks in panel.marks:
        index = place[marks.key]
        for stretch in marks.stretches:
            on = [p for p in panel.curves[index].defined if stretch.start <= p.step <= stretch.end]
            if on:
                yield {
                    "k": index, "words": stretch.words, "direction": stretch.direction,
                    "points": [[p.step, p.samples, p.value, None, None] for p in on],
                    "d": line_path(frame, [(across(p.samples), p.value, None, None) for p in on], 0),
                    "middle": (round(across(on[len(on) // 2].samples), 1), frame.y(on[len(on) // 2].value or 0.0)),
                    "at": f"{on[len(on) // 2].step} {on[len(on) // 2].samples}",
                }  # fmt: skip


def _hatches(panel: Panel, frame: Frame, across: Any) -> Iterator[dict[str, Any]]:
    """Stretches without a value: over the whole height, or a strip for each of several curves."""
    keys = list(dict.fromkeys(gap.key for gap in panel.gaps))
    strip = min(14.0, frame.height / max(len(keys), 1))
    for gap in panel.gaps:
        row = keys.index(gap.key)
        whole = len(keys) == 1
        yield {
            **_span(across, (_step_at(panel, gap.start), gap.start), (_step_at(panel, gap.end), gap.end)),
            "k": None if whole else places(panel)[gap.key],
            "y": frame.top if whole else round(frame.bottom - strip * (row + 1), 1),
            "height": frame.height if whole else round(strip - 1, 1),
        }


def _step_at(panel: Panel, samples: int) -> int:
    points = max((c.points for c in panel.curves), key=len, default=())
    return next((p.step for p in points if p.samples >= samples), points[-1].step if points else 0)


def _gap_texts(panel: Panel) -> list[str]:
    """What is hatched and why, each reason once with its first and last step."""
    names = {c.key: c.run or c.name for c in panel.curves}
    found: dict[str, list[int]] = {}
    for gap in panel.gaps:
        steps = found.setdefault(f"{names[gap.key]} {gap.absent}: {gap.reason}", [])
        steps += [_step_at(panel, gap.start), _step_at(panel, gap.end)]
    texts = [f"{text} (hatched, steps {min(steps)} to {max(steps)})" for text, steps in found.items()]
    more = [f"and {len(texts) - MOST_GAPS} more"] if len(texts) > MOST_GAPS else []
    return texts[:MOST_GAPS] + more


def _names(frame: Frame, names: Sequence[Any], broken: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
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


def _legend(panel: Panel, names: Sequence[Any], curves: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Curves and lines with their values: what narrow screens show instead of the names beside the plot."""
    digits = digits_for(limits(panel)[1] - limits(panel)[0])
    shown = [number(c.defined[-1].value, digits) if c.defined else "undefined" for c in panel.curves]
    kinds = [r.kind for r in panel.references] + ["bound"] * len(panel.bounds)
    lines = [n for n in names if n.reference]
    return {
        "curves": [{**c, "value": value} for c, value in zip(curves, shown, strict=True)],
        "lines": [
            {"k": n.place, "kind": k, "name": n.label, "value": n.text} for n, k in zip(lines, kinds, strict=True)
        ],
    }


def _table(panel: Panel) -> dict[str, Any]:
    """The panel's values: a row for each evaluation, of many for every few."""
    found: dict[int, dict[int, Point]] = {}
    for index, curve in enumerate(panel.curves):
        for point in curve.points:
            found.setdefault(point.step, {})[index] = point
    steps = sorted(found)
    apart = math.ceil(len(steps) / MOST_ROWS) or 1
    kept = [s for i, s in enumerate(steps) if i % apart == 0 or i == len(steps) - 1]
    digits = max(3, digits_for(limits(panel)[1] - limits(panel)[0]))
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


def _data(panel: Panel, frame: Frame, scales: dict[str, Scale], curves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``figure.js`` needs: no text of the record's, which it takes from the page."""
    return {
        "frame": [frame.left, frame.top, frame.width, frame.height, frame.low, frame.high],
        "digits": max(3, digits_for(frame.high - frame.low)),
        "scales": {k: {"end": s.end, "linear": s.linear, "ticks": s.ticks()} for k, s in scales.items()},
        "curves": [
            {"k": c["k"], "points": [[p.step, p.samples, *map(_short, (p.value, p.low, p.high))] for p in c["points"]]}
            for c in curves
        ],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
