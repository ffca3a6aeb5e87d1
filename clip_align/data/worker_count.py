# SPDX-License-Identifier: Apache-2.0
"""The number of worker processes that read and decode, where the configuration leaves it open (``data.workers=null``).

It depends on the machine, so it is determined at each launch, resumed runs included; the stored configuration keeps
null.
"""

from __future__ import annotations

import os

from clip_align.data.shared_memory import fitting_workers

MOST_WORKERS = 16  # per rank: more compete for memory and disk


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sensible_workers(cores: int, local_ranks: int, gpu: bool) -> int:
    """Workers of each rank: the cores per rank, less one for the rank itself.

    Args:
        cores: usable cores of this machine.
        local_ranks: ranks on this machine.
        gpu: whether the ranks train on GPUs; on the CPU training itself uses all cores, so there are no workers.
    """
    return max(0, min(MOST_WORKERS, cores // local_ranks - 1)) if gpu else 0


def resolved_workers(
    configured: int | None, local_ranks: int, gpu: bool, bytes_per_batch: int, accumulate: int = 1
) -> tuple[int, str | None]:
    """Workers of each rank of this launch, and a line with the reason; no line where the number was configured.

    Args:
        configured: ``data.workers``.
        local_ranks: ranks on this machine.
        gpu: whether the ranks train on GPUs.
        bytes_per_batch: of shared memory, see `batch_bytes`; no more workers are taken than fit.
        accumulate: batches that are trained on together.
    """
    if configured is not None:
        return configured, None
    cores = usable_cores()
    sensible = sensible_workers(cores, local_ranks, gpu)
    workers = fitting_workers(bytes_per_batch, sensible, local_ranks, accumulate)
    ranks = f"{local_ranks} rank{'s' if local_ranks > 1 else ''}"
    reason = f"{cores} cores for {ranks}" if gpu else "on the CPU, training itself uses all cores"
    if workers < sensible:
        reason += f"; shared memory (/dev/shm) holds the batches of no more, {sensible} would be faster"
    return workers, f"data.workers: {workers} for each rank ({reason})"
