# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from clip_align.report.score_curves import Curve, Point
from clip_align.report.verdict_marks import Marks, Stretch, marks_of

ROSE = {"first": 0, "last": 225, "direction": "rose", "at_least": 0.04}
FELL = {"first": 225, "last": 330, "direction": "fell", "at_least": 0.0104}


def verdict(**more: Any) -> dict[str, Any]:
    return {"score": "human/a/srocc", "sentence": "It rose.", "peak_from": 150, "peak_to": 225, **more}


def test_all_optional_fields_become_marks() -> None:
    line = verdict(
        stretches=[ROSE, FELL],
        **{"fall/earlier": [180, 225], "fall/later": [390, 400], "rise/low": 0.1, "fall/low": 0.02},
    )
    assert marks_of(line) == Marks(
        "human/a/srocc",
        "It rose.",
        ((180, 225), (390, 400)),
        (Stretch(0, 225, "rose", 0.04), Stretch(225, 330, "fell", 0.0104)),
        (150, 225),
    )
    assert marks_of(line).stretches[1].words == "fell by at least .010 between steps 225 and 330"
    assert Stretch(1, 2, "rose").words == "rose between steps 1 and 2"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"rise/low": 0.1, "fall/low": 0.01}, True),
        ({"rise/low": 0.1, "fall/low": 0.0}, False),
        ({"rise/low": -0.1, "fall/low": 0.01}, False),
        ({"rise/low": 0.1, "fall/low": None}, False),
        ({"rise/low": 0.1, "fall/low": -0.1, "stretches": [FELL]}, True),  # fell and recovered
        ({"stretches": [ROSE, FELL]}, True),
        ({"stretches": [ROSE]}, False),
        ({"rise/low": 0.1, "fall/low": 0.01, "peak_to": None}, False),
        ({}, False),
    ],
)
def test_a_range_of_the_peak_is_shown_only_with_a_rise_and_a_fall(fields: dict[str, Any], shown: bool) -> None:
    assert marks_of(verdict(**fields)).peak == ((150, 225) if shown else None)


@pytest.mark.parametrize(
    "damaged", [None, "x", 3, [1], [[1]], [["a", "b"]], [{}], [{"direction": "up", "first": 1, "last": 2}], [[1, None]]]
)
def test_fields_of_another_form_mark_nothing(damaged: object) -> None:
    found = marks_of(verdict(**{"compared/earlier": damaged}, stretches=damaged, peak_from="1"))
    assert (found.windows, found.stretches, found.peak) == ((), (), None)


def test_steps_between_evaluations_become_samples_in_proportion() -> None:
    curve = Curve("a/b/c", "c", "headline", (Point(0, 0, 0.1), Point(10, 640, 0.2), Point(20, 1920, 0.3)))
    assert [curve.samples_at(step) for step in (-5, 0, 5, 10, 15, 20, 99)] == [0, 0, 320, 640, 1280, 1920, 1920]
    assert Curve("a/b/c", "c", "headline", ()).samples_at(3) == 0
