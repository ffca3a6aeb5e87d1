# SPDX-License-Identifier: Apache-2.0
"""The batches on their way to the trainer: time spent waiting for them, and their end when a signal came."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from clip_align.data.loader import Interruptible
from clip_align.errors import Problem, RunError
from clip_align.training.gradient_cache import MICRO_BATCHES, MicroBatches
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Doing, Watch

GRACE_S = 1.0  # a signal to the whole group may kill a worker before this process has seen its own


class TimedLoader:
    """Batches of ``loader``; ``waited`` adds up the seconds that training stood still for them.

    Has no length on purpose: the loader continues over epochs without an end.

    Args:
        loader: an endless one.
        signals: of this process.
        watch: notes what training waits for; None: nothing does.
        accumulate: batches that are contrasted together: so many come as one, see `together`.
    """

    def __init__(
        self, loader: Iterable[Any], signals: Signals, watch: Watch | None = None, accumulate: int = 1
    ) -> None:
        self.loader, self.signals, self._watch, self._accumulate = loader, signals, watch, accumulate
        self.waited = 0.0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if isinstance(self.loader, Interruptible):
            self.loader.interrupt_when(lambda: self.signals.received is not None)
        batches = iter(self.loader) if self._accumulate == 1 else together(self.loader, self._accumulate)
        last: dict[str, Any] | None = None
        while True:
            self._turn("data")  # before the wait: the watch measures from here
            began = time.perf_counter()
            try:
                last = next(batches)
            except StopIteration:  # only of loaders in tests; the run's has no end
                return
            except Exception as error:
                if self._watch is not None and self._watch.given_up:
                    raise RunError(Problem("data", self._watch.given_up)) from error
                if not self._signalled():
                    raise
                if last is None:
                    raise SystemExit(self.signals.exit_code) from error  # no batch was trained that could be repeated
                yield from self._until_stopped(last)
            self.waited += time.perf_counter() - began
            self._turn("step")
            yield last

    def _turn(self, what: Doing) -> None:
        if self._watch is not None:
            self._watch.doing(what)

    def _signalled(self) -> bool:
        end = time.monotonic() + GRACE_S
        while self.signals.received is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.signals.received is not None

    def _until_stopped(self, last: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """After a signal an error is the end of the data, but not of this rank: others may wait in a collective.

        The last batch stands in until all ranks have agreed to stop, a few seconds at most; ``samples_seen`` counts
        what is trained of it. On one rank that is nothing, or the rest of an accumulated step.
        """
        while True:
            self._turn("step")
            yield last


def together(batches: Iterable[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Batches as the micro-batches of larger ones, without copying: under `MICRO_BATCHES`, beside cursor and keys.

    Args:
        batches: in order; the cursor of the last one of each ``count`` is that of all.
        count: of batches in a larger one; fewer at the end are left out.
    """
    stream = iter(batches)
    while len(parts := list(islice(stream, count))) == count:
        keys = list(chain.from_iterable(part["keys"] for part in parts))
        yield {MICRO_BATCHES: MicroBatches(parts), "keys": keys, "cursor": parts[-1]["cursor"]}
