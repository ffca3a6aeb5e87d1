# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints of a run stay for later study: at steps on a logarithmic scale, decided from the step alone."""

from __future__ import annotations

from math import ceil, floor, log2


def is_kept(step: int, per_octave: int) -> bool:
    """Whether the checkpoint after ``step`` optimizer steps (from 1) stays: a power of 2 ** (1 / per_octave), rounded.

    Args:
        step: that is done.
        per_octave: checkpoints for each doubling of the step; 0: none.

    >>> [step for step in range(1, 40) if is_kept(step, 2)]
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32]
    """
    if per_octave < 1 or step < 1:
        return False
    power = per_octave * log2(step)
    # of all powers below and above, these are the nearest
    return step in (round(2 ** (floor(power) / per_octave)), round(2 ** (ceil(power) / per_octave)))


def kept_steps(per_octave: int, first: int, last: int) -> list[int]:
    """The steps from ``first`` to ``last``, both included, whose checkpoints stay, ascending.

    Args:
        per_octave: see `is_kept`.
        first: from 1 on.
        last: of the run.
    """
    if per_octave < 1 or last < 1:
        return []
    powers = range(ceil(per_octave * log2(last)) + 1)
    steps = {round(2 ** (power / per_octave)) for power in powers}
    return sorted(step for step in steps if first <= step <= last)
