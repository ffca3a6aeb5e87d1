# SPDX-License-Identifier: Apache-2.0
"""What a run under way has shown of a fall: corrected for looking at it after every evaluation, else nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clip_align.analysis.course import FEWEST_EVALUATIONS, fall_so_far
from clip_align.analysis.recorded_curve import judged_scores, recorded_curve
from clip_align.analysis.verdict_sentence import lower
from clip_align.record.schema import score_key

if TYPE_CHECKING:
    from clip_align.record.record import History, ItemsHistory

__all__ = ["live_falls"]


def live_falls(history: History, items_of: Callable[[str], ItemsHistory | None]) -> dict[str, str]:
    """By the key of a score: ``fell by at least .012 since step 420``, where that is shown.

    Args:
        history: the record of a run under way.
        items_of: from a benchmark's key to its items; None where there are none.
    """
    planned = [event["evaluations_planned"] for event in history.events if event.get("evaluations_planned")]
    looks = max(1, planned[-1] - FEWEST_EVALUATIONS + 1) if planned and planned[-1] else None
    found = {}
    for benchmark, score in judged_scores(history):
        curve = recorded_curve(history, benchmark, score, items_of(benchmark["key"]))
        if isinstance(curve, str):
            continue
        fall = fall_so_far(curve.curve, curve.steps, curve.spans, looks, curve.carried)
        if fall is not None:
            found[score_key(benchmark, score)] = (
                f"fell by at least {lower(fall.at_least)} since step {fall.earlier.last:,}"
            )
    return found
