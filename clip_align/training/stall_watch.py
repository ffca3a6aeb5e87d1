# SPDX-License-Identifier: Apache-2.0
"""A thread that reports what training waits for, and ends the run when it has waited too long.

A worker on a dead disk, a rank that was stopped, a network that is gone: the main thread waits inside a library and
sees neither a time limit nor a signal. The thread sees the time since the last sign of progress, reads from the other
ranks' threads what they wait for, over the store in which the ranks have met, and needs no collective for it. It draws
no random number, and while training goes well it only compares two times, every few seconds.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import pytorch_lightning as pl

from clip_align.training.signals import Signals

Doing = Literal["data", "step", "evaluation", "checkpoint"]
TICK_S = 2.5  # between two looks
SILENT_S = 12.0  # without a new sign from its thread a rank is stopped, or out of reach
AFTER_SIGNAL_S = 10.0  # for a batch, or another rank, to come before an ordered end is given up
YIELD_S = 15.0  # for the main thread to notice that its workers have been ended
NAMES: dict[Doing, str] = {
    "data": "a batch of data",
    "step": "a training step",
    "evaluation": "an evaluation",
    "checkpoint": "a checkpoint",
}


class Store(Protocol):
    """What is used of ``torch.distributed.Store``."""

    def set(self, key: str, value: str) -> None:
        """Keep a value."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values of keys that all have one."""


@dataclass(frozen=True)
class Sign:
    """The last line of a rank's thread, and for how many seconds no new one has come."""

    doing: str
    waited_s: float
    silent_s: float


class Peers:
    """The other ranks' threads: each keeps a line in the store up to date. Rank 0 reads all, the others rank 0's.

    Args:
        store: reached by all ranks; each has a connection of its own, with a short time-out.
        rank, world: this process's number, and how many there are.
    """

    def __init__(self, store: Store, rank: int, world: int) -> None:
        self._store, self._rank = store, rank
        self._others = range(1, world) if rank == 0 else range(1)
        self._beats = 0
        self._seen: dict[int, tuple[str, float]] = {}  # the last value, and since when it has been that
        self.beat("step", 0.0)  # multi_get waits for keys that are not there yet

    def beat(self, doing: Doing, waited_s: float) -> None:
        """Publish what this rank waits for, and for how many seconds it has."""
        self._beats += 1
        with contextlib.suppress(RuntimeError):  # who keeps the store is stopped or gone: `signs` finds rank 0 silent
            # the count changes the value even where the wait does not
            self._store.set(f"watch/{self._rank}", f"{self._beats} {waited_s:.0f} {doing}")

    def signs(self) -> dict[int, Sign]:
        """What the other ranks wait for. Those that cannot be read count as silent since they last could be."""
        now = time.monotonic()
        values: list[bytes] = []
        with contextlib.suppress(RuntimeError):
            values = self._store.multi_get([f"watch/{rank}" for rank in self._others])  # one request for all ranks
        found = {}
        for rank, raw in zip(self._others, values or [b""] * len(self._others), strict=True):
            value = raw.decode()
            before = self._seen.get(rank)
            if before is None or (value and value != before[0]):
                self._seen[rank] = before = value or "0 0 step", now  # a new sign, or the first look
            _, waited, doing = before[0].split()
            found[rank] = Sign(doing, float(waited), now - before[1])
        return found


@dataclass(frozen=True)
class Limits:
    """Seconds without progress: until the thread reports it, and until it ends the run."""

    warning_s: float
    end_s: float


class Watch:
    """What the main thread waits for, and since when; and the thread that looks at it.

    ``given_up``: why the workers were ended, for the main thread's error; empty where a signal came, or nothing.

    Args:
        limits: seconds until a line is shown, and until the run ends.
        signals: of this process; an ordered end that does not come is given up.
        peers: the other ranks; None where there are none.
        notify: takes a line, on rank 0.
        end_workers: ends the processes that make batches, so that waiting for one becomes an error; False where
            there are none.
        end: ends this process, from a thread, with a reason; does not return.
    """

    def __init__(
        self,
        limits: Limits,
        signals: Signals,
        peers: Peers | None,
        notify: Callable[[str], None],
        end_workers: Callable[[], bool],
        end: Callable[[str], None],
    ) -> None:
        self._limits, self._signals, self._peers = limits, signals, peers
        self._notify, self._end_workers, self._end = notify, end_workers, end
        self.given_up = ""
        self._at: tuple[Doing, float] = ("data", time.monotonic())  # one tuple: the thread never sees half of a change
        self._reported: float | None = None  # beginning of the wait that a line was shown about
        self._gave_up: tuple[float, float] | None = None  # the waiting for data that was given up, and when
        self._signs: dict[int, Sign] = {}
        self._over = threading.Event()

    def doing(self, what: Doing) -> None:
        """The main thread turns to something."""
        self._at = what, time.monotonic()

    def progress(self) -> None:
        """The main thread has come forward in what it does."""
        self._at = self._at[0], time.monotonic()

    def start(self) -> None:
        """Training begins."""
        self._at = "step", time.monotonic()  # preparation is not counted
        threading.Thread(target=self._run, daemon=True, name="watch").start()

    def stop(self) -> None:
        """Training is over, well or not."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(TICK_S):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        what, since = self._at
        waited = now - since
        if self._peers is not None:
            self._peers.beat(what, waited)
            if waited > TICK_S:  # while all goes well the store is not read
                self._signs = self._peers.signs()
        if self._over.is_set() or self._at != (what, since):
            return  # the store took its time, and the main thread has come forward meanwhile
        first = self._signals.first_signal
        stopping = first is not None and now - first[1] > AFTER_SIGNAL_S
        # whether the main thread cannot come to the border of a step, where it would see the signal
        blocked = what == "data" or any(map(self._holds_up, self._signs.values()))
        if waited > self._limits.warning_s and self._reported != since:
            self._reported = since
            self._notify(f"waiting for {self._reason(what)}, {waited:.0f} s so far")
        if waited > self._limits.end_s:
            self._stop(what, since, f"waited {waited:.0f} s for {self._reason(what)}; {advice(what)}")
        elif stopping and blocked and waited > AFTER_SIGNAL_S:
            self._stop(what, since, "")

    def _stop(self, what: Doing, since: float, reason: str) -> None:
        if what == "data":
            if self._gave_up is None or self._gave_up[0] != since:
                self._gave_up, self.given_up = (since, time.monotonic()), reason
                # waiting for a batch becomes an error in the main thread, which ends the run in order
                if self._end_workers():
                    return
            elif time.monotonic() - self._gave_up[1] < YIELD_S:
                return
        self._end(reason or f"stopped by a signal while waiting for {self._reason(what)}")

    def _holds_up(self, sign: Sign) -> bool:
        return sign.silent_s > SILENT_S or (sign.doing == "data" and sign.waited_s > AFTER_SIGNAL_S)

    def _reason(self, what: Doing) -> str:
        """What is waited for: named rank by rank where others hold this one up."""
        held = {rank: sign for rank, sign in self._signs.items() if self._holds_up(sign)} if what != "data" else {}
        if not held:
            return NAMES[what]
        rank, sign = next(iter(held.items()))
        more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
        if sign.silent_s > SILENT_S:
            return f"rank {rank}{more}, which gives no sign of life"
        return f"rank {rank}{more}, which waits for {NAMES['data']}"


def advice(what: Doing) -> str:
    """What to look at when a run has waited too long."""
    if what == "data":
        return "is the storage of the shards in reach? resume when it is (trainer.stall_limit_seconds is the limit)"
    return "resume when the cause is removed (trainer.stall_limit_seconds is the limit)"


class Mark(pl.Callback):
    """Between the run's callbacks: what the main thread turns to next."""

    def __init__(self, watch: Watch, what: Doing) -> None:
        self._watch, self._what = watch, what

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The first evaluation may come before the first step."""
        self._watch.doing(self._what)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """A step is done."""
        self._watch.doing(self._what)
