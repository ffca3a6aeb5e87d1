# SPDX-License-Identifier: Apache-2.0
"""The sentences of a verdict: what one run showed, with bounds, and what it could have shown.

Every number is a field of the verdict's line in the record. Lower bounds are rounded down and upper bounds up, so that
no sentence says more than its numbers.
"""

from __future__ import annotations

import math

from clip_align.analysis.course import Change, Course, Span, Stretch

__all__ = ["WORDS", "lower", "sentence", "upper", "value"]

WORDS = {
    "rose_then_fell": "rose, then fell in this run",
    "rose_fell_recovered": "rose, fell and recovered",
    "fell_recovered": "fell and recovered",
    "rose": "rose",
    "fell": "fell in this run",
    "no_change_shown": "no change shown",
}
MOST_STRETCHES = 4  # in a sentence; the record has all
DIGITS = 3


def sentence(found: Course, subject: str) -> str:
    """The course in words: what is shown, by at least how much, and at most how much where a fall is not shown.

    Args:
        found: the result of the rule.
        subject: the score's name as the sentence begins with it.
    """
    if found.word is None or found.rise is None or found.fall is None or found.most is None:
        return f"{subject}: no verdict: {found.reason}."
    parts = [f"{subject}: {WORDS[found.word]}."]
    if found.rise.at_least > 0:
        parts.append(f"It rose by at least {lower(found.rise.at_least)} {_between(found.rise)}.")
    else:
        parts.append(f"No rise from step 0 ({value(found.start)}) is shown.")
    parts.append(_fall(found.fall, found.most, found.smallest_detectable_fall))
    if found.peak_from is not None:
        parts.append(f"Peak between steps {found.peak_from:,} and {found.peak_to:,}.")
    parts += _stretches(found)
    if found.lag_1_used:
        lag_1 = value(found.lag_1, 2)
        parts.append(f"Jitter of neighbouring evaluations is correlated (lag-1 {lag_1}); the bounds are wider for it.")
    if found.left_out:
        several = f"{found.left_out} of {found.evaluations + found.left_out}"
        parts.append(f"Left out, without a value: {several} evaluations.")
    return " ".join(parts)


def _fall(fall: Change, most: Change, detectable: float | None) -> str:
    highest = upper(most.at_most)
    if fall.at_least > 0:
        return (
            f"It fell by at least {lower(fall.at_least)} {_between(fall)}; "
            f"from any two evaluations to the last two by at most {highest}."
        )
    return (
        f"No fall to the end is shown: at most {highest} {_between(most)}, the two windows compared; "
        f"this run could have shown (80 %) a fall of {upper(detectable)} between them."
    )


def _stretches(found: Course) -> list[str]:
    """Certain stretches inside the course; a single one says no more than a rise or fall that is shown before it."""
    shown = {"rose": found.rise, "fell": found.fall}
    if len(found.stretches) == 1:
        change = shown[found.stretches[0].direction]
        if change is not None and change.at_least > 0:
            return []
    strongest = sorted(found.stretches, key=lambda s: -s.at_least)[:MOST_STRETCHES]
    named = [_stretch(s) for s in found.stretches if s in strongest]
    return [f"{'Stretches' if len(named) > 1 else 'Stretch'}: {'; '.join(named)}."] if named else []


def _stretch(stretch: Stretch) -> str:
    by = f"{stretch.direction} by at least {lower(stretch.at_least)}"
    return f"{by} between steps {stretch.first:,} and {stretch.last:,}"


def _between(change: Change) -> str:
    return f"from {_at(change.earlier)} to {_at(change.later)}"


def _at(span: Span) -> str:
    place = f"at step {span.first:,}" if span.first == span.last else f"over steps {span.first:,} to {span.last:,}"
    return f"{value(span.value)} {place}"


def lower(bound: float | None) -> str:
    """A lower bound above 0, rounded down to a thousandth, or to its first digit if it is smaller."""
    return _rounded(bound, math.floor)


def upper(bound: float | None) -> str:
    """An upper bound, rounded up likewise."""
    return _rounded(bound, math.ceil)


def _rounded(bound: float | None, towards: object) -> str:
    number = bound or 0.0
    digits = DIGITS
    if 0 < number < 10**-DIGITS:
        digits = -math.floor(math.log10(number))
    scaled = round(number * 10**digits, 6)  # .021 is 21.000000000000004 thousandths
    whole = math.floor(scaled) if towards is math.floor else math.ceil(scaled)
    return value(whole / 10**digits, digits)


def value(number: float | None, digits: int = DIGITS) -> str:
    """``.537``, ``-.012``: a score without its leading zero."""
    text = f"{number or 0.0:.{digits}f}"
    if float(text) == 0:  # -.0004 is rounded to "-0.000"
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
