# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from clip_align.evaluation.schedule import Schedule, event_steps, shortest_spacing

OLDER = Schedule(early_steps=(2, 8, 32, 64))  # as in runs of an earlier release


def benchmark(family: str, every: int) -> SimpleNamespace:
    return SimpleNamespace(family=family, every_n_steps=every)


def steps(family: str, every: int, last: int, schedule: Schedule) -> list[int]:
    return [s for s in range(last + 1) if schedule.due(s, every, family, last=s == last)]


def test_events_of_the_default_run() -> None:
    found = steps("human", 60, 1300, Schedule())
    assert found[:17] == [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 60, 91, 120, 180, 240]
    assert found[17:] == [*range(300, 1300, 60), 1300]
    assert len(found) <= 40


@pytest.mark.parametrize(("every", "last"), [(60, 1300), (100, 2600), (2000, 78_125)])
def test_a_peak_in_the_first_twentieth_is_seen_by_ten_evaluations(every: int, last: int) -> None:
    assert sum(step <= last / 20 for step in steps("human", every, last, Schedule())) >= 10


def test_the_paper_plan_has_sixty_events_and_twenty_in_the_first_epoch() -> None:
    found = event_steps([benchmark("human", 2000)], Schedule(), 78_125)
    assert len(found) >= 60
    assert sum(step <= 10_000_000 / 4096 for step in found) >= 20


@pytest.mark.parametrize("per_octave", [1, 2, 3, 7])
@pytest.mark.parametrize("every", [1, 2, 60, 100, 997, 2000])
def test_spacings_grow_up_to_the_regular_one_and_no_event_lies_beside_another(per_octave: int, every: int) -> None:
    found = steps("human", every, 12 * every, Schedule(per_octave))
    spacings = [b - a for a, b in pairwise(found)]
    assert max(spacings) <= every
    growth = 2 ** (1 / per_octave)
    for before, after in pairwise(found):
        assert after - before >= min(every, max(1, 0.4 * before * (growth - 1)))  # half a spacing of the scale, rounded
        assert after <= before * (1 + 2 * (growth - 1)) + 1  # not even where two of its steps are left out


def test_texture_and_noise_skip_the_early_steps() -> None:
    for schedule in (Schedule(), OLDER):
        assert steps("texture", 100, 250, schedule) == steps("noise", 100, 250, schedule) == [0, 100, 200, 250]


def test_no_early_steps() -> None:
    assert steps("human", 100, 250, Schedule(per_octave=0)) == [0, 100, 200, 250]
    assert steps("human", 100, 250, Schedule(early_steps=())) == [0, 100, 200, 250]


def test_explicit_steps_replace_the_scale_and_end_where_regular_ones_begin() -> None:
    assert steps("human", 100, 250, OLDER) == [0, 2, 8, 32, 64, 100, 200, 250]
    assert steps("zero_shot", 20, 70, OLDER) == [0, 2, 8, 20, 40, 60, 70]


def test_event_steps_are_those_at_which_any_benchmark_is_due() -> None:
    for schedule in (Schedule(), OLDER):
        for every, last in ((100, 250), (20, 70), (7, 7), (50, 3)):
            human, noise = benchmark("human", every), benchmark("noise", every)
            assert event_steps([human], schedule, last) == steps("human", every, last, schedule)
            assert event_steps([noise], schedule, last) == steps("noise", every, last, schedule)
            assert event_steps([noise, human], schedule, last) == steps("human", every, last, schedule)
    assert event_steps([benchmark("noise", 4), benchmark("noise", 5)], OLDER, 11) == [0, 4, 5, 8, 10, 11]
    assert event_steps([], OLDER, 11) == []


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(5), OLDER])
def test_the_spacing_around_a_step_is_that_of_the_events(schedule: Schedule) -> None:
    for family, every in (("human", 60), ("noise", 7)):
        found = steps(family, every, 10 * every, schedule)
        for before, after in pairwise(found):
            assert {schedule.spacing(s, every, family) for s in range(before + 1, after + 1)} == {after - before}


def test_the_shortest_spacing_is_that_of_the_benchmark_evaluated_most_often_there() -> None:
    both = [benchmark("human", 100), benchmark("noise", 30)]
    assert [shortest_spacing(both, Schedule(), step) for step in (3, 40, 60, 300)] == [1, 13, 19, 30]
