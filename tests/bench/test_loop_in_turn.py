# SPDX-License-Identifier: Apache-2.0
"""Loops in threads of their own take the steps of their turns, and none in another one's."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from clip_align.bench.loop_in_turn import WARM_UP, Run, loops_in_turn
from clip_align.bench.throughput import block_seconds


def plain(name: str, steps_of: list[str], ahead: int = 0) -> Run:
    """A loop that writes its name at each batch that it has worked on; ``ahead``: batches that it asks for before."""

    def run(batches: Iterable[int], steps: int) -> None:
        waiting = iter(batches)
        held = [next(waiting) for _ in range(ahead)]
        for step in range(steps):
            held.append(next(waiting))
            assert held.pop(0) == step
            steps_of.append(name)
        next(waiting)  # as a loop does that looks whether there is more

    return run


def numbers(count: int) -> Iterable[int]:
    return iter(range(count))


@pytest.mark.parametrize("ahead", [0, 1])
def test_each_loop_works_in_its_own_turn_alone(ahead: int) -> None:
    done: list[str] = []
    runs = {"a": plain("a", done), "b": plain("b", done, ahead)}
    with loops_in_turn(runs, dict.fromkeys(runs, numbers), steps=5) as loops:
        assert done.count("a") == WARM_UP
        assert done.count("b") == WARM_UP - ahead  # one that asks ahead has a batch in hand
        for name, steps in (("a", 2), ("b", 3), ("b", 2), ("a", 3)):
            before = len(done)
            assert loops[name].take(steps) > 0
            assert done[before:] == [name] * steps
    assert done.count("a") == done.count("b") == WARM_UP + 5  # what was in hand has been worked on


@pytest.mark.parametrize("ahead", [0, 1])
def test_whole_steps_are_timed_without_the_first_one(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a loop that requests a batch ahead, as Lightning's does."""
    now, needed = [0.0], list[int]()
    monkeypatch.setattr("clip_align.bench.loop_in_turn.time.perf_counter", lambda: now[0])

    def run(batches: Iterable[int], steps: int) -> None:
        needed.append(steps)
        waiting = iter(batches)
        held = [next(waiting) for _ in range(ahead)]
        for step in range(steps):
            held.append(next(waiting))
            assert held.pop(0) == step
            now[0] += 100.0 if step == 0 else 1.0
        if not ahead:
            next(waiting)

    steps = 3
    assert block_seconds(run, numbers, steps) == steps
    assert needed == [steps + WARM_UP]


def test_a_turn_is_of_steps_where_a_step_takes_several_batches() -> None:
    done: list[str] = []
    with loops_in_turn({"a": lambda batches, steps: plain("a", done)(batches, 3 * steps)}, {"a": numbers}, 2, 3) as one:
        before = len(done)
        one["a"].take(1)
        assert len(done) - before == 3
        one["a"].take(1)


def test_a_loop_that_fails_ends_them_all_with_its_error() -> None:
    def failing(batches: Iterable[int], steps: int) -> None:
        for number, _ in enumerate(batches):
            if number == WARM_UP:
                raise ValueError("no more")

    def measured() -> None:
        with loops_in_turn({"a": plain("a", []), "b": failing}, dict.fromkeys("ab", numbers), 4) as loops:
            loops["a"].take(1)
            loops["b"].take(1)

    before = threading.active_count()
    with pytest.raises(ValueError, match="no more"):
        measured()
    assert threading.active_count() == before


def test_no_thread_outlives_an_interrupted_measurement() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), loops_in_turn({"a": plain("a", [])}, {"a": numbers}, 9):
        raise KeyboardInterrupt
    assert threading.active_count() == before
