# SPDX-License-Identifier: Apache-2.0
"""How many processes should read and decode where nobody has said so."""

from __future__ import annotations

MOST_WORKERS = 16  # per rank: more wait for each other's memory and disk


def sensible_workers(cores: int, local_ranks: int, gpu: bool) -> int:
    """Workers of each rank: the cores that are left when each rank of the machine has one for itself.

    Args:
        cores: that the processes of this machine may use.
        local_ranks: ranks on this machine.
        gpu: the ranks train on GPUs; on the CPU training itself takes all cores, and workers would take them from it.
    """
    return max(0, min(MOST_WORKERS, cores // local_ranks - 1)) if gpu else 0
