# SPDX-License-Identifier: Apache-2.0
"""Test before training whether the shared memory of this machine is large enough for the batches in transit.

Workers pass batches through /dev/shm. torch's loader has ``prefetch_factor`` batches per worker in transit, finished or
not; one more is being trained on, and one is prefetched by Lightning, or as many as are contrasted together. Containers
have 64 MiB by default.
"""

from __future__ import annotations

import os
from pathlib import Path

from clip_align.errors import Problem

PREFETCH = 2  # torch's default prefetch_factor
IN_TRAINING = 2  # the batches that are trained on together, and as many prefetched ones
PAGE = 4096  # each tensor is a separate file
FOLDER = Path("/dev/shm")


def batch_bytes(batch_size: int, image_size: int, context: int) -> int:
    """Bytes of shared memory of one batch.

    Args:
        batch_size: samples of one rank's batch.
        image_size: side of the square uint8 images in pixels.
        context: tokens of a caption, int64 each.
    """
    return _pages(batch_size * 3 * image_size**2) + _pages(batch_size * context * 8)


def batches_under_way(workers: int, accumulate: int = 1) -> int:
    """Largest number of one rank's batches in shared memory at the same time; 0 without workers.

    ``accumulate``: batches that are trained on together.
    """
    return PREFETCH * workers + IN_TRAINING * accumulate if workers else 0


def free_shared_memory(folder: Path = FOLDER) -> int | None:
    """Free bytes; None if the system has no such folder."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def shared_memory_problem(bytes_per_batch: int, workers: int, local_ranks: int, accumulate: int = 1) -> Problem | None:
    """A problem if the batches do not fit, with the number of workers that would; None if they fit or it is unknown.

    Args:
        bytes_per_batch: see `batch_bytes`.
        workers: loader workers of each rank.
        local_ranks: ranks on this machine.
        accumulate: batches that are trained on together.
    """
    free = free_shared_memory()
    batches = batches_under_way(workers, accumulate) * local_ranks
    needed = bytes_per_batch * batches
    if free is None or needed <= free:
        return None
    fitting = fitting_workers(bytes_per_batch, workers, local_ranks, accumulate)
    ranks = f" on {local_ranks} ranks" if local_ranks > 1 else ""
    return Problem(
        "data.workers",
        f"{workers} workers{ranks} need {mib(needed)} of shared memory (/dev/shm) for "
        f"{batches} batches of {mib(bytes_per_batch)}, and {mib(free)} are free; "
        f"take data.workers={fitting} or a smaller data.batch_size, or give the container more "
        # a quarter more than is needed, rounded up to whole GiB
        f"(docker run --shm-size={-(-needed * 5 // 4 // 2**30)}g, or --ipc=host)",
    )


def fitting_workers(bytes_per_batch: int, workers: int, local_ranks: int, accumulate: int = 1) -> int:
    """The largest number up to ``workers`` whose batches fit; ``workers`` where that is unknown.

    Args:
        bytes_per_batch: see `batch_bytes`.
        workers: loader workers of each rank.
        local_ranks: ranks on this machine.
        accumulate: batches that are trained on together.
    """
    free = free_shared_memory()
    if free is None:
        return workers
    each = bytes_per_batch * local_ranks
    fits = (w for w in range(workers, 0, -1) if each * batches_under_way(w, accumulate) <= free)
    return next(fits, 0)


def mib(number: int) -> str:
    """A number of bytes as text, in MiB or GiB."""
    return f"{number / 2**20:,.1f} MiB" if number < 2**30 else f"{number / 2**30:,.1f} GiB"


def _pages(number: int) -> int:
    return -(-number // PAGE) * PAGE  # rounded up
