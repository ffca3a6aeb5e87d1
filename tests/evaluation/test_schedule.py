# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from clip_align.evaluation.schedule import due, planned

EARLY = (2, 8, 32, 64)


def steps(family: str, every: int, last: int) -> list[int]:
    return [s for s in range(last + 1) if due(s, every, family, EARLY, last=s == last)]


def test_human_is_due_early_and_regularly_and_at_the_end() -> None:
    assert steps("human", 100, 250) == [0, 2, 8, 32, 64, 100, 200, 250]


def test_texture_and_noise_skip_the_early_steps() -> None:
    assert steps("texture", 100, 250) == steps("noise", 100, 250) == [0, 100, 200, 250]


def test_early_steps_end_where_regular_ones_begin() -> None:
    assert steps("zero_shot", 20, 70) == [0, 2, 8, 20, 40, 60, 70]


def test_planned_counts_what_is_due() -> None:
    for family in ("human", "noise"):
        for every, last in ((100, 250), (20, 70), (7, 7), (50, 3)):
            assert planned(every, family, EARLY, last) == len(steps(family, every, last))
