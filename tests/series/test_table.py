# SPDX-License-Identifier: Apache-2.0
"""The table that ``evaluate`` prints."""

from __future__ import annotations

from typing import Any

from clip_align.record.record import History
from clip_align.series.table import table

KEY = "texture/cue_conflict"
CLOSED = "only 12 % of the decisions name the shape or the texture; a bias needs 25 %"


def history(*evaluations: dict[str, Any]) -> History:
    """A record of a benchmark with a score of each role, and an event with the given fields at the steps 0, 100, …."""
    scores = [
        {"name": name, "role": role}
        for name, role in (("bias", "headline"), ("hits", "companion"), ("corrected", "companion"), ("more", "detail"))
    ]
    made = History()
    made.line({"kind": "benchmark", "key": KEY, "scores": scores})  # type: ignore[arg-type]
    for step, fields in enumerate(evaluations):
        position = {"global_step": 100 * step, "samples_seen": 0, "epoch": 0, "wall_seconds": 0.0}
        made.line({"kind": "evaluation", **position, **fields})  # type: ignore[arg-type]
    return made


def fields(**values: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found[f"{KEY}/{name}"] = value
        more = {"reason": CLOSED} if value is None else {"low": value - 0.125, "high": value + 0.125}
        found.update({f"{KEY}/{name}/{what}": of for what, of in more.items()})
    return found


def test_headlines_alone_where_they_are_defined() -> None:
    text = table(history(fields(bias=0.5, hits=0.25, corrected=None, more=0.125)))
    assert text.splitlines() == [
        "step  samples  texture/cue_conflict/bias",
        "0     0        .5000 [.375, .625]",
    ]


def test_companions_beside_a_headline_that_is_undefined() -> None:
    defined = fields(bias=0.5, hits=0.25, corrected=0.5, more=0.125)
    text = table(history(fields(bias=None, hits=0.25, corrected=None, more=0.125), defined))
    assert text.splitlines() == [
        "step  samples  texture/cue_conflict/bias  texture/cue_conflict/hits",
        "0     0        –                          .2500 [.125, .375]",
        "100   0        .5000 [.375, .625]         .2500 [.125, .375]",
        f"texture/cue_conflict/bias: {CLOSED}",
    ]


def test_a_benchmark_without_any_value_has_its_reason() -> None:
    text = table(history(fields(bias=None, hits=None, corrected=None)))
    assert text.splitlines() == [
        "step  samples  texture/cue_conflict/bias",
        "0     0        –",
        f"texture/cue_conflict/bias: {CLOSED}",
    ]


def test_an_evaluation_that_lacks_the_benchmark_shows_no_companion() -> None:
    assert table(history({}, fields(bias=0.5, hits=0.25))).splitlines() == [
        "step  samples  texture/cue_conflict/bias",
        "0     0",
        "100   0        .5000 [.375, .625]",
    ]
