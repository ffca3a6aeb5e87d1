# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

from clip_align.evaluation.schedule import due, event_steps

EARLY = (2, 8, 32, 64)


def steps(family: str, every: int, last: int) -> list[int]:
    return [s for s in range(last + 1) if due(s, every, family, EARLY, last=s == last)]


def test_human_is_due_early_and_regularly_and_at_the_end() -> None:
    assert steps("human", 100, 250) == [0, 2, 8, 32, 64, 100, 200, 250]


def test_texture_and_noise_skip_the_early_steps() -> None:
    assert steps("texture", 100, 250) == steps("noise", 100, 250) == [0, 100, 200, 250]


def test_early_steps_end_where_regular_ones_begin() -> None:
    assert steps("zero_shot", 20, 70) == [0, 2, 8, 20, 40, 60, 70]


def test_event_steps_are_those_at_which_any_benchmark_is_due() -> None:
    for every, last in ((100, 250), (20, 70), (7, 7), (50, 3)):
        human, noise = (SimpleNamespace(family=f, every_n_steps=every) for f in ("human", "noise"))
        assert event_steps([human], EARLY, last) == steps("human", every, last)
        assert event_steps([noise], EARLY, last) == steps("noise", every, last)
        assert event_steps([noise, human], EARLY, last) == steps("human", every, last)
    fours, fives = (SimpleNamespace(family="noise", every_n_steps=n) for n in (4, 5))
    assert event_steps([fours, fives], EARLY, 11) == [0, 4, 5, 8, 10, 11]
    assert event_steps([], EARLY, 11) == []
