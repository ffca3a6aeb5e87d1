# SPDX-License-Identifier: Apache-2.0
"""The verdicts at the end of a run: did a score rise and fall, as fields of the record and as one paragraph.

A score gets one where its description says so; the rule exists for srocc and within-level srocc. One run can show that
its curve fell by more than its own jitter, hence "in this run"; that training in general makes the score decline needs
several seeds (`several_seeds`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clip_align.analysis.course import Change, Course, course
from clip_align.analysis.recorded_curve import LIMITS, judged_scores, recorded_curve
from clip_align.analysis.verdict_sentence import sentence

if TYPE_CHECKING:
    from clip_align.record.record import History, ItemsHistory

__all__ = ["RULE", "verdict_fields", "verdicts"]

RULE = 2  # 1: the rule of release 0.1, best five evaluations against the last five
NAIVE = "peak chosen and tested on the same evaluations: biased upwards, not a finding"


def verdicts(history: History, items_of: Callable[[str], ItemsHistory | None]) -> list[dict[str, Any]]:
    """Fields of the record's ``verdict`` lines, one for each score that gets a verdict.

    Args:
        history: the run's record, of which the last evaluation is the end.
        items_of: from a benchmark's key to its items; None where there are none.

    About .3 s for a default run. `verdict_fields` lists the fields.
    """
    described = judged_scores(history)
    several = len({benchmark["key"] for benchmark, _ in described}) > 1
    items = {key: items_of(key) for key in dict.fromkeys(benchmark["key"] for benchmark, _ in described)}
    lines = []
    for benchmark, score in described:
        key = benchmark["key"]
        found = recorded_curve(history, benchmark, score, items[key])
        if isinstance(found, str):
            judged, unit = Course(None, found), None
        else:
            judged, unit = course(found.curve, found.steps, found.spans, LIMITS, found.carried), found.unit
        subject = f"{key}/{score['name']}" if several else score["name"]
        lines.append({"score": f"{key}/{score['name']}", **verdict_fields(judged, subject), "unit": unit})
    return lines


def verdict_fields(found: Course, subject: str) -> dict[str, Any]:
    """The fields of a verdict line that come from the rule; ``subject`` is what its sentence calls the score.

    ``word`` (None without a verdict, then ``reason``), ``sentence``; ``rise`` and ``fall``, with ``/low`` and the two
    windows of each; ``fall/high`` with the ``compared`` windows; ``start``, ``end``, ``stretches``, ``peak_from``,
    ``peak_to``, ``smallest_detectable_fall``; ``jitter`` and its correlation; what was counted; the ``naive_fall``.
    """
    naive = found.naive_fall or (None, None, None)
    return {
        "rule": RULE,
        "word": found.word,
        "sentence": sentence(found, subject),
        "reason": found.reason,
        "start": found.start,
        "end": found.fall.later.value if found.fall else None,
        **_change("rise", found.rise),
        "rise/low": found.rise.at_least if found.rise else None,
        **_change("fall", found.fall),
        "fall/low": found.fall.at_least if found.fall else None,
        "fall/high": found.most.at_most if found.most else None,
        **_change("compared", found.most),
        "fall_windows": _windows(found),
        "smallest_detectable_fall": found.smallest_detectable_fall,
        "stretches": [
            {"direction": s.direction, "from": s.first, "to": s.last, "at_least": s.at_least} for s in found.stretches
        ],
        "peak_from": found.peak_from,
        "peak_to": found.peak_to,
        "jitter": found.jitter,
        "jitter_lag_1": found.lag_1,
        "jitter_lag_1_used": found.lag_1_used,
        "evaluations": found.evaluations,
        "clusters": found.clusters,
        "left_out": found.left_out,
        "naive_fall": naive[0],
        "naive_fall/low": naive[1],
        "naive_fall/high": naive[2],
        "naive_fall/label": NAIVE,
    }


def _windows(found: Course) -> list[list[int]] | None:
    """The two windows of the fall that is shown, else those that were compared."""
    change = found.fall if found.fall and found.fall.at_least > 0 else found.most
    return [[w.first, w.last] for w in (change.earlier, change.later)] if change else None


def _change(name: str, change: Change | None) -> dict[str, Any]:
    """Its size, and the steps and the mean value of both windows."""
    if change is None:
        none = ("", "/earlier", "/earlier/value", "/later", "/later/value")
        return {f"{name}{key}": None for key in none}
    return {
        name: change.size,
        f"{name}/earlier": [change.earlier.first, change.earlier.last],
        f"{name}/earlier/value": change.earlier.value,
        f"{name}/later": [change.later.first, change.later.last],
        f"{name}/later/value": change.later.value,
    }
