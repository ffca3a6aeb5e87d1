# SPDX-License-Identifier: Apache-2.0
"""The peak of resident memory, of work whose memory is known."""

from __future__ import annotations

import pytest
import torch

from clip_align.bench.memory import in_own_process, peak_bytes

MIB = 2**20


def known_peak() -> int:
    """Of 64 MiB and, before the first of them is gone, 32 MiB more."""

    def work() -> None:
        first = torch.ones(16 * MIB)
        torch.ones(8 * MIB)
        del first

    torch.ones(40 * MIB)  # a peak from before does not count
    return peak_bytes(work)


def test_the_peak_is_that_of_the_work() -> None:
    assert in_own_process(known_peak) == pytest.approx(96 * MIB, abs=2 * MIB)
