# SPDX-License-Identifier: Apache-2.0
"""What a record says, in words: rise and fall, the course of a panel, what is human data and what is not.

Nothing is judged here beyond what the record holds: verdicts are its own lines, all else is values with their
intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clip_align.record.record import History
from clip_align.record.schema import EventLine
from clip_align.report.labels import interval, number
from clip_align.report.panels import Panel
from clip_align.report.score_curves import Curve, Point, names_of_scores
from clip_align.report.verdict_table import EARLIER_RULE, last_verdicts

MOST_REASONS = 12  # why a score is undefined that are listed; the tables have every evaluation's
EARLIER = " (By the rule of an earlier release, which denied falls that it could not see.)"
CALM = {"started", "checkpoint", "resumable", "resumed", "finished"}  # events that need no attention


def verdict_sentences(history: History) -> list[tuple[str, str]]:
    """(score's label, sentence) of every verdict in the record: none before the end of a run."""
    labels = names_of_scores(history)
    return [
        (labels.get(key, key), v["sentence"] + (EARLIER if v["rule"] == EARLIER_RULE and v["word"] else ""))
        for key, v in last_verdicts(history).items()
        if v["sentence"]
    ]


def live_notes(history: History, falls: Mapping[str, str]) -> list[str]:
    """What a run under way has shown of falls (`live_falls`, by the key of the score), as sentences."""
    labels = names_of_scores(history)
    return [
        f"{labels.get(key, key)} {fall}, corrected for looking after every evaluation" for key, fall in falls.items()
    ]


def course(panel: Panel) -> list[str]:
    """The course of a panel's curves in words: first, extreme and latest values with their intervals."""
    sentences = [s for c in panel.curves if (s := _course(c))]
    sentences += [bound.sentence for bound in panel.bounds if bound.sentence]
    for bound in (b for b in panel.bounds if not b.sentence):
        name, first, last = bound.label.removeprefix("limit of "), bound.points[0][1], bound.points[-1][1]
        sentences.append(f"The upper limit of {name} moved from {number(first)} to {number(last)} with accuracy alone.")
    chances = [r for r in panel.references if r.kind == "chance"]
    sentences += [f"{r.name[:1].upper()}{r.name[1:]}: {number(r.value)}." for r in chances]
    return sentences


def _course(curve: Curve) -> str:
    points = [p for p in curve.points if p.value is not None]
    name = curve.name[:1].upper() + curve.name[1:]
    if not points:
        last = next((p for p in reversed(curve.points) if p.reason), None)
        return f"{name}: {last.absent}{'' if last.held else ' so far'} ({last.reason})." if last else ""
    first, last = points[0], points[-1]
    text = f"{name}: {_at(first)}"
    if first.reason:
        text += f", {first.reason}"
    if last is not first:
        text += f"; {_at(last)}"
    if len(points) > 2:
        high, low = max(points, key=_value), min(points, key=_value)
        between = [
            f"{word} {number(p.value)} at step {p.step}"
            for word, p in (("highest", high), ("lowest", low))
            if p not in (first, last)
        ]
        text += f" ({', '.join(between)})" if between else ""
    return text + "." + _gap_words(curve)


def _gap_words(curve: Curve) -> str:
    """At which evaluations there is no value, and why; and at which there is one that is not drawn."""
    text = ""
    for held, what in ((False, "Undefined"), (True, "Not drawn")):
        missing = [p for p in curve.points if p.value is None and p.held == held]
        if missing:
            text += f" {what} at {len(missing)} of {len(curve.points)} evaluations: {_reasons(curve, missing)}."
    return text


def _reasons(curve: Curve, missing: Sequence[Point]) -> str:
    """Every reason once, with the steps it holds at; those of evaluations in a row as a range."""
    numbers = {point: number for number, point in enumerate(curve.points)}
    steps: dict[str, list[list[Point]]] = {}
    for point in missing:
        rows = steps.setdefault(str(point.reason), [])
        if rows and numbers[point] == numbers[rows[-1][-1]] + 1:
            rows[-1].append(point)
        else:
            rows.append([point])
    found = [f"{reason} ({_at_steps(rows)})" for reason, rows in list(steps.items())[:MOST_REASONS]]
    more = [f"and {len(steps) - MOST_REASONS} more, in the table of values"] if len(steps) > MOST_REASONS else []
    return "; ".join([*found, *more])


def _at_steps(rows: Sequence[Sequence[Point]]) -> str:
    ranges = [f"{row[0].step} to {row[-1].step}" if len(row) > 1 else str(row[0].step) for row in rows]
    several = len(rows) > 1 or len(rows[0]) > 1
    return f"{'steps' if several else 'step'} {', '.join(ranges)}"


def _at(point: Point) -> str:
    band = interval(point.low, point.high)
    return f"{number(point.value)}{f' {band}' if band else ''} at step {point.step}"


def _value(point: Point) -> float:
    return point.value if point.value is not None else float("nan")


def warnings(history: History) -> list[EventLine]:
    """Events that a reader should know of: warnings, skipped samples, failures, checkpoints that were given up."""
    return [e for e in history.events if e["event"] not in CALM or e.get("given_up")]
