# SPDX-License-Identifier: Apache-2.0
"""When a benchmark is due: decided from the number of optimizer steps alone, so that all ranks agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Protocol

EARLY_FAMILIES = frozenset({"human", "zero_shot"})


def due(step: int, every: int, family: str, early: Collection[int] = (), last: bool = False) -> bool:
    """Whether a benchmark is evaluated after ``step`` optimizer steps.

    Every benchmark is due at step 0, at the last step and at every multiple of ``every``. The
    ``early`` steps below ``every`` are log-spaced, because much happens there; they carry the human
    and zero-shot families only, since texture bias and noise drop are undefined so early.
    """
    if step == 0 or last or step % every == 0:
        return True
    return family in EARLY_FAMILIES and step < every and step in early


class Scheduled(Protocol):
    """What of a benchmark decides when it is due."""

    family: ClassVar[str]
    every_n_steps: int


def event_steps(benchmarks: Iterable[Scheduled], early: Collection[int], max_steps: int) -> list[int]:
    """The steps of a run of ``max_steps`` at which any of the benchmarks is due, step 0 and the last included."""
    steps: set[int] = set()
    for benchmark in benchmarks:
        every, family = benchmark.every_n_steps, benchmark.family
        some = {max_steps, *range(0, max_steps + 1, every), *(s for s in early if s <= max_steps)}
        steps |= {s for s in some if due(s, every, family, early, last=s == max_steps)}
    return sorted(steps)
