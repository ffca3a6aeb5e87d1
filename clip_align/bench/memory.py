# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
CLEAR = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
PEAK_TO_PRESENT = "5"  # what Linux takes for: the peak is reset


def in_own_process(work: Callable[..., T], *arguments: Any) -> T:
    """What ``work`` returns, done in a fresh interpreter: both have to be importable by name."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_bytes(work: Callable[[], object]) -> int:
    """Bytes that this process held at most while it did ``work``, above what it held before.

    Of the GPU where there is one, else of resident memory (Linux; FileNotFoundError elsewhere).
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    CLEAR.write_text(PEAK_TO_PRESENT)
    before = _resident("VmRSS")
    work()
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])  # given in KiB
