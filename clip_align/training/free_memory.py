# SPDX-License-Identifier: Apache-2.0
"""How much memory is free now."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch


def free_bytes(device: torch.device) -> float:
    """Bytes that are free now: the GPU's, or the host's; inf where that is unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def free_host_bytes() -> float:
    """Bytes of the machine's memory that are free now, within the limit of its container; inf where unknown."""
    free = [float("inf")]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        # given in KiB
        free.append(1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):
        # cgroup v2; "max" is no number: no limit
        limit, used = (float(Path(f"/sys/fs/cgroup/memory.{n}").read_text()) for n in ("max", "current"))
        free.append(limit - used)
    return min(free)
