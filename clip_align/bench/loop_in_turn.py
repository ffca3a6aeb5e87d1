# SPDX-License-Identifier: Apache-2.0
"""A training loop in a thread of its own that takes steps in its turn only, and the time that they take.

Loops that stay alive take turns step by step: no step is spent on starting them again, and what else the machine does
meets all of them alike, also where a step takes ten seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

WARM_UP = 2  # first steps, which are not timed: AdamW makes its moments, Lightning requests one batch ahead
Run = Callable[[Iterable[Any], int], None]  # trains over batches, for so many steps


@contextmanager
def loops_in_turn(
    runs: Mapping[str, Run], batches: Mapping[str, Callable[[int], Iterable[Any]]], steps: int, accumulate: int = 1
) -> Iterator[dict[str, LoopInTurn]]:
    """A loop for each of ``runs``, which have taken their first steps; all have ended afterwards.

    Args:
        runs: by name. The last ones end first.
        batches: by the same names; each makes at least a number of batches.
        steps: of each loop, in all its turns together.
        accumulate: batches of one step.
    """
    loops: dict[str, LoopInTurn] = {}
    try:
        for name, run in runs.items():
            loops[name] = LoopInTurn(run, batches[name], steps, accumulate)
        yield loops
        for loop in reversed(loops.values()):
            loop.finish()
    finally:
        for loop in loops.values():
            loop.abandon()


class _AbandonedError(Exception):
    """Leaves a loop that is not needed any more."""


class LoopInTurn(Iterable[Any]):
    """The loop, and the batches on their way to it; between two requests lies a step, with all that it does in it.

    Args:
        run: trains over batches for so many steps.
        batches: makes at least a number of batches; they are read while the loop has its turn.
        steps: of all calls of `take` together.
        accumulate: batches of one step.
    """

    def __init__(self, run: Run, batches: Callable[[int], Iterable[Any]], steps: int, accumulate: int = 1) -> None:
        self._run, self._needed, self._accumulate = run, steps + WARM_UP, accumulate
        self._batches = batches((self._needed + 3) * accumulate)  # Lightning requests one ahead
        self._left: float = WARM_UP * accumulate  # requests to be answered in this turn
        self._turn, self._waits = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()
        self._wait()

    def take(self, steps: int) -> float:
        """Seconds of the next steps."""
        began = time.perf_counter()
        self._waits.clear()
        self._left = steps * self._accumulate
        self._turn.set()
        self._wait()
        return time.perf_counter() - began

    def finish(self) -> None:
        """Let the loop take the step that it has a batch for, and end."""
        self._left = float("inf")
        self._turn.set()
        self._thread.join()
        self._raise()

    def abandon(self) -> None:
        """End the loop where it waits, if it has not ended."""
        self._failure = self._failure or _AbandonedError()
        self._turn.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        while (batch := self._next(batches)) is not None:
            yield batch

    def _next(self, batches: Iterator[Any]) -> Any:
        """In the loop's thread: the next batch, once the loop has its turn; None where there is none."""
        if not self._left:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._waits.set()
            self._turn.wait()
            self._turn.clear()
            self._raise()
        self._left -= 1
        return next(batches, None)

    def _wait(self) -> None:
        """In the caller's thread: until the loop requests a batch that is not of this turn."""
        self._waits.wait()
        self._raise()

    def _train(self) -> None:
        try:
            self._run(self, self._needed)
        except _AbandonedError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._waits.set()

    def _raise(self) -> None:
        if self._failure:
            raise self._failure
