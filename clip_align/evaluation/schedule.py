# SPDX-License-Identifier: Apache-2.0
"""When a benchmark is due: decided from the number of optimizer steps alone, so that all ranks agree.

Step 0, the multiples of its ``every_n_steps`` and the last step; before the regular spacing is reached, steps on a
logarithmic scale between them, because a score may rise and fall within the first hundredth of a run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import ClassVar, Protocol

EARLY_FAMILIES = frozenset({"human", "zero_shot"})  # texture bias and noise drop are undefined so early in training


@dataclass(frozen=True)
class Schedule:
    """Which steps count besides step 0, the regular ones and the last.

    per_octave: evaluations per doubling of the step, for the human and zero-shot families, until they would be as far
        apart as the regular ones; 0: none.
    early_steps: steps below the regular spacing in place of those; None: the logarithmic scale. Runs that were begun
        with an earlier release have them.
    """

    per_octave: int = 2
    early_steps: tuple[int, ...] | None = None

    def due(self, step: int, every: int, family: str, last: bool = False) -> bool:
        """Whether a benchmark is evaluated after ``step`` optimizer steps.

        Args:
            step: optimizer steps done.
            every: the benchmark's ``every_n_steps``.
            family: of the benchmark.
            last: whether ``step`` is the last one.
        """
        return step == 0 or last or step % every == 0 or step in self.early(every, family)

    def early(self, every: int, family: str) -> tuple[int, ...]:
        """The steps between the regular ones at which a benchmark is due, ascending.

        Args:
            every: the benchmark's ``every_n_steps``.
            family: of the benchmark.
        """
        if family not in EARLY_FAMILIES:
            return ()
        if self.early_steps is not None:
            return tuple(sorted({step for step in self.early_steps if step < every}))
        return _log_scale(self.per_octave, every)

    def spacing(self, step: int, every: int, family: str) -> int:
        """Optimizer steps between a benchmark's last event before ``step`` (from 1) and its next, ``step`` included.

        The last step of a run is left out: a longer run has the same spacings.

        Args:
            step: from 1 on.
            every: the benchmark's ``every_n_steps``.
            family: of the benchmark.
        """
        early = self.early(every, family)
        place = bisect_left(early, step)
        before, after = (step - 1) // every * every, -(-step // every) * every
        return min([*early[place : place + 1], after]) - max([*early[max(0, place - 1) : place], before])


@lru_cache
def _log_scale(per_octave: int, every: int) -> tuple[int, ...]:
    """Powers of 2 ** (1 / per_octave), rounded, as long as they lie less than ``every`` apart.

    Those nearer to a multiple of ``every`` than half their own spacing are left out: that step is evaluated anyway.
    """
    if per_octave < 1:
        return ()
    steps: set[int] = set()
    for power in count():
        exact = 2 ** (power / per_octave)
        apart = exact * (2 ** (1 / per_octave) - 1)
        if apart >= every:
            return tuple(sorted(steps))
        step = round(exact)
        regular = round(step / every) * every
        if step != regular and (regular == 0 or abs(step - regular) >= apart / 2):
            steps.add(step)
    raise AssertionError("unreachable: the scale has no end")


class Scheduled(Protocol):
    """The attributes of a benchmark that determine when it is due."""

    family: ClassVar[str]
    every_n_steps: int


def event_steps(benchmarks: Iterable[Scheduled], schedule: Schedule, max_steps: int) -> list[int]:
    """The steps of a run at which any of the benchmarks is due, ascending, step 0 and the last included.

    Args:
        benchmarks: of the run.
        schedule: of the run.
        max_steps: optimizer steps of the run.
    """
    steps: set[int] = set()  # benchmarks that are due together have one event
    for benchmark in benchmarks:
        every, family = benchmark.every_n_steps, benchmark.family
        steps |= {max_steps, *range(0, max_steps + 1, every)}
        steps |= {step for step in schedule.early(every, family) if step <= max_steps}
    return sorted(steps)


def shortest_spacing(benchmarks: Iterable[Scheduled], schedule: Schedule, step: int) -> int:
    """Steps between the events around ``step`` (from 1) of the benchmark whose events are closest there.

    Args:
        benchmarks: of the run, at least one.
        schedule: of the run.
        step: from 1 on.
    """
    kinds = {(benchmark.every_n_steps, benchmark.family) for benchmark in benchmarks}
    return min(schedule.spacing(step, every, family) for every, family in kinds)
