# SPDX-License-Identifier: Apache-2.0
"""A suitable number of worker processes for reading and decoding."""

from __future__ import annotations

MOST_WORKERS = 16  # per rank: more compete for memory and disk


def sensible_workers(cores: int, local_ranks: int, gpu: bool) -> int:
    """Workers of each rank: the cores per rank, less one for the rank itself.

    Args:
        cores: usable cores of this machine.
        local_ranks: ranks on this machine.
        gpu: whether the ranks train on GPUs; on the CPU training itself uses all cores, so there are no workers.
    """
    return max(0, min(MOST_WORKERS, cores // local_ranks - 1)) if gpu else 0
