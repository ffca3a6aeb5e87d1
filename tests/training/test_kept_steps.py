# SPDX-License-Identifier: Apache-2.0
"""The steps whose checkpoints stay for later study."""

from __future__ import annotations

import pytest

from clip_align.training.kept_steps import is_kept, kept_steps


def test_powers_of_two_and_what_is_between() -> None:
    assert kept_steps(1, 1, 100) == [1, 2, 4, 8, 16, 32, 64]
    assert kept_steps(2, 1, 64) == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]
    assert kept_steps(1, 5, 8) == [8]
    assert kept_steps(0, 1, 100) == kept_steps(3, 1, 0) == []
    assert not is_kept(0, 1)
    assert not is_kept(4, 0)


@pytest.mark.parametrize("per_octave", [1, 2, 3, 5, 32])
def test_each_step_decides_for_itself(per_octave: int) -> None:
    last = 20_000
    assert [step for step in range(last + 1) if is_kept(step, per_octave)] == kept_steps(per_octave, 1, last)
    assert len(kept_steps(per_octave, 1025, 2048)) == per_octave
