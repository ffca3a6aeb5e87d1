# SPDX-License-Identifier: Apache-2.0
"""The numbers behind the sentences of a record's verdicts, as a table: quantities by scores."""

from __future__ import annotations

from typing import NamedTuple

from clip_align.analysis.verdict_sentence import lower, upper, value
from clip_align.record.record import History
from clip_align.record.schema import VerdictLine
from clip_align.report.score_curves import names_of_scores

__all__ = ["EARLIER_RULE", "VerdictTable", "last_verdicts", "verdict_table"]

EARLIER_RULE = 1  # that of release 0.1, whose numbers mean something else


class VerdictTable(NamedTuple):
    """The labels of the scores, and for each quantity its name with a text for every score."""

    labels: list[str]
    rows: list[tuple[str, list[str]]]


def last_verdicts(history: History) -> dict[str, VerdictLine]:
    """The verdict on each score by its key: of a resumed run the last one counts."""
    return {verdict["score"]: verdict for verdict in history.verdicts}


def verdict_table(history: History) -> VerdictTable:
    """The numbers of all verdicts but those of an earlier rule and those without a word."""
    names = names_of_scores(history)
    shown = {
        names.get(key, key): _numbers(verdict)
        for key, verdict in last_verdicts(history).items()
        if verdict["word"] is not None and verdict["rule"] != EARLIER_RULE
    }
    quantities = list(next(iter(shown.values()), {}))
    return VerdictTable(list(shown), [(name, [numbers[name] for numbers in shown.values()]) for name in quantities])


def _numbers(v: VerdictLine) -> dict[str, str]:
    lag_1 = value(v["jitter_lag_1"], 2)
    used = value(v["jitter_lag_1_used"], 2)
    stretches = [f"{s['direction']} {lower(s['at_least'])} ({s['from']:,} to {s['to']:,})" for s in v["stretches"]]
    return {
        "start, at step 0": value(v["start"]),
        "rise from step 0, at least": lower(v["rise/low"]),
        "… to (steps)": _window(v["rise/later/value"], v["rise/later"]),
        "fall to the end, at least": lower(v["fall/low"]),
        "… from, to (steps)": _pair(v, "fall"),
        "fall to the last two evaluations, at most": upper(v["fall/high"]),
        "… windows compared": _pair(v, "compared"),
        "fall between these that could be shown (80 %)": upper(v["smallest_detectable_fall"]),
        "peak between steps": "" if v["peak_from"] is None else f"{v['peak_from']:,} and {v['peak_to']:,}",
        "certain stretches, at least": "; ".join(stretches),
        "jitter; lag-1; used of it": f"{value(v['jitter'], 4)}; {lag_1}; {used}",
        "evaluations; left out": f"{v['evaluations']}; {v['left_out']}",
        "clusters": f"{v['clusters']} ({v['unit']})",
    }


def _pair(v: VerdictLine, name: str) -> str:
    earlier = _window(v[f"{name}/earlier/value"], v[f"{name}/earlier"])  # type: ignore[literal-required]
    return f"{earlier}, {_window(v[f'{name}/later/value'], v[f'{name}/later'])}"  # type: ignore[literal-required]


def _window(mean: float | None, steps: list[int] | None) -> str:
    if steps is None:
        return "–"
    first, last = steps
    return f"{value(mean)} ({first:,})" if first == last else f"{value(mean)} ({first:,} to {last:,})"
