# SPDX-License-Identifier: Apache-2.0
"""The sentence about rise and fall that a verdict carries: what one run showed, and what it could have shown."""

from __future__ import annotations

from clip_align.analysis.peak import Peak
from clip_align.metrics.estimate import Estimate


def sentence(found: Peak, margin: float, subject: str) -> str:
    """The course in words: rise, fall since, what is excluded, what could have been shown, and where the peak lies.

    Args:
        found: the result of the rule.
        margin: change of the score below which it counts as flat, as the rule used it.
        subject: the score's name as the sentence begins with it.
    """
    if found.word is None:
        return f"{subject}: no verdict: {found.reason}."
    top = (found.start or 0.0) + (found.rise.value or 0.0)
    course = f"from {_n(found.start)} to about {_n(top)}"
    shown = f"this run could have shown (80 %) one of {_n(found.smallest_detectable_fall)} or more"
    rise, fall = _span(found.rise, sign="+"), _span(found.fall)
    parts = []
    if found.word == "flat":
        parts.append(f"{subject} stayed flat (within {_n(margin, 2)}): {course}, {rise}. Fall since: {fall}; {shown}.")
    else:
        if _above(found.rise, 0):
            parts.append(f"{subject} rose {course}: {rise}.")
        elif _below(found.rise, margin):
            parts.append(f"{subject} did not rise by {_n(margin, 2)}: {course}, {rise}.")
        else:
            parts.append(f"Rise of {subject} {course}: {rise}: undecided.")
        if _above(found.fall, 0):
            parts.append(f"{'Then it' if found.word == 'rose_then_fell' else 'It'} fell in this run: {fall}.")
        elif found.word == "rise":
            parts.append(f"Fall since: {fall}: none of {_n(margin, 2)} or more; {shown}.")
        else:
            excluded = f"a fall above {_n(found.fall.high)} is excluded"
            parts.append(f"Fall since: {fall}: undecided; {excluded}; {shown}.")
    parts.append(f"Peak between steps {found.peak_from:,} and {found.peak_to:,}.")
    if found.left_out:
        parts.append(
            f"Left out, without a value: {found.left_out} of {found.evaluations + found.left_out} evaluations."
        )
    return " ".join(parts)


def _above(estimate: Estimate, value: float) -> bool:
    return estimate.low is not None and estimate.low > value


def _below(estimate: Estimate, value: float) -> bool:
    return estimate.high is not None and estimate.high < value


def _span(estimate: Estimate, sign: str = "") -> str:
    plus = sign if (estimate.value or 0) >= 0 else ""
    return f"{plus}{_n(estimate.value)} [{_n(estimate.low)}, {_n(estimate.high)}]"


def _n(value: float | None, digits: int = 3) -> str:
    """``.537``, ``-.012``: a score without its leading zero; differences here are often below .01."""
    text = f"{value or 0.0:.{digits}f}"
    if float(text) == 0:  # -.0004 is rounded to "-0.000"
        text = text.removeprefix("-")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
