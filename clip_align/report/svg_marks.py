# SPDX-License-Identifier: Apache-2.0
"""What is marked in a panel of the page: windows, range of the peak, stretches that rose or fell, missing values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from clip_align.report.name_labels import places
from clip_align.report.panels import Panel, bracket_rows
from clip_align.report.score_curves import Gap
from clip_align.report.svg_paths import line_path
from clip_align.report.svg_scales import Plot, step_at
from clip_align.report.thinned import COLUMNS

MOST_GAPS = 6  # stretches without a value that are listed

Ends = tuple[tuple[int, int], tuple[int, int]]  # (step, samples) at the start and at the end


def span(plot: Plot, start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    """A range with its place: at least two units wide, for a window of step 0 alone.

    Args:
        plot: where it is.
        start, end: (step, samples).
    """
    left, right = plot.x(start[1]), plot.x(end[1])
    wide = max(right - left, 2.0)
    return {"x": round(left, 1), "width": round(wide, 1), "from": f"{start[0]} {start[1]}", "to": f"{end[0]} {end[1]}"}


def brackets(panel: Panel) -> Iterator[tuple[int, str, list[Ends]]]:
    """What is bracketed along the top, a row for each: place of its colour, words, ranges."""
    place = places(panel)
    for marks, text, ranges in bracket_rows(panel):
        curve = panel.curves[place[marks.key]]
        yield place[marks.key], text, [((a, curve.samples_at(a)), (b, curve.samples_at(b))) for a, b in ranges]


def stretches(panel: Panel, plot: Plot) -> Iterator[dict[str, Any]]:
    """Parts of curves that certainly rose or fell, and where in the middle a triangle points there."""
    place = places(panel)
    for marks in panel.marks:
        index = place[marks.key]
        for stretch in marks.stretches:
            on = [p for p in panel.curves[index].defined if stretch.start <= p.step <= stretch.end]
            if on:
                middle = on[len(on) // 2]
                yield {
                    "k": index, "words": stretch.words, "direction": stretch.direction,
                    "points": [[p.step, p.samples, p.value, None, None] for p in on],
                    "d": line_path(plot.frame, plot.placed(on), 0),
                    "middle": (round(plot.x(middle.samples), 1), plot.frame.y(middle.value or 0.0)),
                    "at": f"{middle.step} {middle.samples}",
                }  # fmt: skip


def hatches(panel: Panel, plot: Plot) -> Iterator[dict[str, Any]]:
    """Stretches without a value: over the whole height, or a strip for each of several curves."""
    frame = plot.frame
    keys = list(dict.fromkeys(gap.key for gap in panel.gaps))
    strip = min(14.0, frame.height / max(len(keys), 1))
    for gap in _joined(panel.gaps, plot.seen_on()):
        row = keys.index(gap.key)
        whole = len(keys) == 1
        yield {
            **span(plot, (step_at(panel, gap.start), gap.start), (step_at(panel, gap.end), gap.end)),
            "k": None if whole else places(panel)[gap.key],
            "y": frame.top if whole else round(frame.bottom - strip * (row + 1), 1),
            "height": frame.height if whole else round(strip - 1, 1),
        }


def _joined(gaps: Sequence[Gap], scales: Sequence[Callable[[float], float]]) -> list[Gap]:
    """Gaps of one curve as one where nothing could be seen between them: of a long record there may be thousands."""
    found: list[Gap] = []
    for gap in gaps:
        last = found[-1] if found else None
        if last and last.key == gap.key and all(scale(gap.start) - scale(last.end) < 0.5 / COLUMNS for scale in scales):
            found[-1] = replace(last, end=gap.end)
        else:
            found.append(gap)
    return found


def gap_texts(panel: Panel) -> list[str]:
    """What is hatched and why, each reason once with its first and last step."""
    names = {c.key: c.run or c.name for c in panel.curves}
    found: dict[str, list[int]] = {}
    for gap in panel.gaps:
        steps = found.setdefault(f"{names[gap.key]} {gap.absent}: {gap.reason}", [])
        steps += [step_at(panel, gap.start), step_at(panel, gap.end)]
    texts = [f"{text} (hatched, steps {min(steps)} to {max(steps)})" for text, steps in found.items()]
    more = [f"and {len(texts) - MOST_GAPS} more"] if len(texts) > MOST_GAPS else []
    return texts[:MOST_GAPS] + more
