# SPDX-License-Identifier: Apache-2.0
"""When a benchmark is due: decided from the number of optimizer steps alone, so that all ranks agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Protocol

EARLY_FAMILIES = frozenset({"human", "zero_shot"})


def due(step: int, every: int, family: str, early: Collection[int] = (), last: bool = False) -> bool:
    """Whether a benchmark is evaluated after ``step`` optimizer steps.

    Args:
        step: optimizer steps done.
        every: the benchmark's ``every_n_steps``: it is due at step 0, at every multiple and at the last step.
        family: the human and zero-shot families are also due at the ``early`` steps; texture bias and noise drop are
            undefined so early in training.
        early: further steps, of which those below ``every`` count.
        last: whether ``step`` is the last one.
    """
    if step == 0 or last or step % every == 0:
        return True
    return family in EARLY_FAMILIES and step < every and step in early


class Scheduled(Protocol):
    """The attributes of a benchmark that determine when it is due."""

    family: ClassVar[str]
    every_n_steps: int


def event_steps(benchmarks: Iterable[Scheduled], early: Collection[int], max_steps: int) -> list[int]:
    """The steps of a run at which any of the benchmarks is due, ascending, step 0 and the last included.

    Args:
        benchmarks: of the run.
        early: further steps, see `due`.
        max_steps: optimizer steps of the run.
    """
    steps: set[int] = set()  # benchmarks that are due together have one event
    for benchmark in benchmarks:
        every, family = benchmark.every_n_steps, benchmark.family
        some = {max_steps, *range(0, max_steps + 1, every), *(s for s in early if s <= max_steps)}
        steps |= {s for s in some if due(s, every, family, early, last=s == max_steps)}
    return sorted(steps)
