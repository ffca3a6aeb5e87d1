# SPDX-License-Identifier: Apache-2.0
"""The thread that reports what training waits for and ends it, with a clock of its own and a made-up store."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from clip_align.training import stall_watch as module
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Limits, Peers, Watch
from tests.fake_clock import Clock

LIMITS = Limits(warning_s=100.0, end_s=1000.0)


class Dictionary:
    """A store; ``reached`` is False where its keeper is stopped."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.reached = True

    def set(self, key: str, value: str) -> None:
        self._check()
        self.values[key] = value

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self._check()
        return [self.values[key].encode() for key in keys]

    def _check(self) -> None:
        if not self.reached:
            raise RuntimeError("wait timeout after 10000ms")


class Watched:
    """A watch, and what it did. workers: whether it can end some."""

    def __init__(self, clock: Clock, workers: bool = True, peers: Peers | None = None) -> None:
        self.clock, self.signals = clock, Signals()
        self.reported: list[str] = []
        self.ended: list[str] = []
        self.killed = 0

        def kill() -> bool:
            self.killed += 1
            return workers

        self.watch = Watch(LIMITS, self.signals, peers, self.reported.append, kill, self.ended.append)

    def look(self, seconds: float) -> None:
        """After so many seconds, at every tick of which it looks."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + module.TICK_S)
            self.watch._look(self.clock.now)

    def signal(self) -> None:
        self.signals.received, self.signals.came_at = signal.SIGTERM, self.clock.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(5000.0)
    monkeypatch.setattr(module, "time", made)
    return made


def test_while_training_comes_forward_nothing_is_reported(clock: Clock) -> None:
    watched = Watched(clock)
    for _ in range(40):
        for what in ("data", "step", "evaluation", "checkpoint"):
            watched.watch.doing(what)  # type: ignore[arg-type]
            watched.look(60)
    watched.watch.doing("evaluation")
    for _ in range(40):
        watched.watch.progress()
        watched.look(60)
    assert (watched.reported, watched.ended, watched.killed) == ([], [], 0)


@pytest.mark.parametrize(
    ("what", "name"),
    [("data", "a batch of data"), ("step", "a training step"), ("evaluation", "an evaluation"),
     ("checkpoint", "a checkpoint")],
)  # fmt: skip
def test_a_wait_is_reported_once_and_ended_at_the_limit(clock: Clock, what: Any, name: str) -> None:
    watched = Watched(clock, workers=False)
    watched.watch.doing(what)
    watched.look(900)
    assert watched.reported == [f"waiting for {name}, 102 s so far"]
    assert watched.ended == []
    watched.look(102.5)
    assert len(watched.ended) == 1
    assert watched.ended[0].startswith(f"waited 1002 s for {name}; ")
    assert watched.ended[0].endswith("(trainer.stall_limit_seconds is the limit)")


def test_workers_that_do_not_answer_are_ended_and_the_main_thread_reports_why(clock: Clock) -> None:
    watched = Watched(clock)
    watched.watch.doing("data")
    watched.look(1002.5)
    assert (watched.killed, watched.ended) == (1, [])
    assert watched.watch.given_up.startswith("waited 1002 s for a batch of data; ")
    watched.look(module.YIELD_S - module.TICK_S)
    assert watched.ended == []
    watched.look(2 * module.TICK_S)  # it does not come: it waits for a disk itself
    assert watched.ended


def test_after_a_signal_a_batch_is_waited_for_a_short_while_only(clock: Clock) -> None:
    watched = Watched(clock)
    watched.watch.doing("data")
    watched.look(30)
    watched.signal()
    watched.look(module.AFTER_SIGNAL_S)
    assert watched.killed == 0
    watched.look(module.TICK_S)
    assert (watched.killed, watched.watch.given_up) == (1, "")  # no error: the run ends in order


def test_a_long_step_of_ones_own_is_waited_for_after_a_signal(clock: Clock) -> None:
    watched = Watched(clock)
    watched.watch.doing("step")
    watched.signal()
    watched.look(900)
    assert watched.ended == []


def two(clock: Clock) -> tuple[Watched, Watched, Dictionary]:
    store = Dictionary()
    first, second = (Watched(clock, peers=Peers(store, rank, 2)) for rank in (0, 1))
    return first, second, store


def test_a_rank_that_gives_no_sign_is_named(clock: Clock) -> None:
    first, second, _ = two(clock)
    for watched in (first, second):
        watched.watch.doing("step")
    second.look(module.TICK_S)
    first.look(1002.5)
    assert first.reported == ["waiting for rank 1, which gives no sign of life, 102 s so far"]
    assert first.ended[0].startswith("waited 1002 s for rank 1, which gives no sign of life; ")


@pytest.mark.parametrize("forward", [Watch.progress, Watch.stop])
def test_a_main_thread_that_comes_forward_while_the_store_is_read_ends_nothing(clock: Clock, forward: Any) -> None:
    """Reading takes up to its time limit where the machine is slow."""
    first, _, store = two(clock)
    first.watch.doing("step")
    clock.now += 1002.5
    read = store.multi_get

    def slow(keys: list[str]) -> list[bytes]:
        clock.now += 10.0
        forward(first.watch)
        return read(keys)

    store.multi_get = slow  # type: ignore[method-assign]
    first.watch._look(clock.now)
    assert (first.reported, first.ended) == ([], [])


def test_a_rank_that_waits_for_data_is_named(clock: Clock) -> None:
    first, second, _ = two(clock)
    first.watch.doing("step")
    second.watch.doing("data")
    for _ in range(45):
        start = clock.now
        second.look(module.TICK_S)
        clock.now = start
        first.look(module.TICK_S)
    assert first.reported == ["waiting for rank 1, which waits for a batch of data, 102 s so far"]


def test_a_stopped_first_rank_keeps_the_store_and_is_named(clock: Clock) -> None:
    _, second, store = two(clock)
    second.watch.doing("step")
    second.look(50)
    store.reached = False
    second.look(60)
    assert second.reported == ["waiting for rank 0, which gives no sign of life, 102 s so far"]


def test_a_signal_ends_a_rank_whose_peer_is_silent(clock: Clock) -> None:
    first, _, _ = two(clock)
    first.watch.doing("step")
    first.look(5)
    first.signal()
    first.look(module.AFTER_SIGNAL_S + module.SILENT_S)
    assert set(first.ended) == {"stopped by a signal while waiting for rank 1, which gives no sign of life"}
