# SPDX-License-Identifier: Apache-2.0
"""What an error of a library means for a run, in one line with what to do; tracebacks are for train.log."""

from __future__ import annotations

import errno
import re

from clip_align.errors import TOO_MANY_FILES

DEAD_PEER = ("closed by peer", "closed by remote peer", "connection reset", "broken pipe", "remote process")
_WORKER_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (is killed|exited)")
_IN_WORKER = re.compile(r"in DataLoader worker process (\d+)")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception)(?:: |$)")
_TOO_MANY_FILES = ("too many open files", "items of ancdata", "os error 24")
_SHARED_MEMORY = ("shared memory", "shm_open", "/torch_")
_MEMORY = ("defaultcpuallocator", "cannot allocate memory", "unable to mmap")
_TIMED_OUT = ("timed out waiting", "watchdog caught collective", "wait timeout", "operation timed out")

GPU_MEMORY = "trainer: the GPU's memory is full; try a smaller data.batch_size, or trainer.precision=bf16-mixed"
SHARED_MEMORY = (
    "data: shared memory (/dev/shm) is full, through which workers hand over batches; take fewer data.workers, "
    "a smaller data.batch_size, or give the container more (docker run --shm-size=8g, or --ipc=host)"
)


def peer_is_gone(error: BaseException) -> bool:
    """Whether a collective failed because another rank's process has ended."""
    return any(word in str(error).lower() for word in DEAD_PEER)


def explained(error: BaseException, workers: int = 0, killed_by: str | None = None) -> str | None:
    """One line for an error that is known; None for any other.

    Args:
        error: what ended the run; one from a loader's worker carries that worker's traceback in its text.
        workers: worker processes of the loader (``data.workers``), named in advice.
        killed_by: name of the signal that has ended one of them.
    """
    text = str(error).lower()
    if type(error).__name__ == "OutOfMemoryError":  # by name: torch is not imported here
        return GPU_MEMORY
    if getattr(error, "errno", None) == errno.EMFILE or any(word in text for word in _TOO_MANY_FILES):
        return TOO_MANY_FILES
    # before dead workers and memory, whose words may come in the same text
    if "bus error" in text or any(word in text for word in _SHARED_MEMORY):
        return SHARED_MEMORY
    if _WORKER_DIED.search(str(error)):
        # from a page of /dev/shm for which there was no room
        return SHARED_MEMORY if killed_by == "SIGBUS" else _dead_worker(killed_by, workers)
    if isinstance(error, MemoryError) or any(word in text for word in _MEMORY):
        return (
            "memory: this machine has no more; take fewer data.workers, a smaller data.memory_mb, data.batch_size or "
            "evaluation.batch_size, or ask for more memory"
        )
    if getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"disk: {getattr(error, 'filename', None) or 'a file'} cannot be written, the disk is full; free some space"
        )
    if any(word in text for word in _TIMED_OUT):
        return "ranks: another rank did not come to a collective in time; its own output says why, if it could say"
    if (inside := _IN_WORKER.search(str(error).splitlines()[0] if text else "")) is not None:
        return f"data: {_last_error(str(error))} (in loader worker {inside[1]}; HYDRA_FULL_ERROR=1 shows where)"
    return None


def _last_error(traceback: str) -> str:
    """The first line of a traceback's last error: its name and its message."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def _dead_worker(killed_by: str | None, workers: int) -> str:
    if killed_by not in (None, "SIGKILL"):  # SIGKILL is what the kernel sends when memory is full
        return f"data: a loader worker was ended by {killed_by}; data.workers=0 shows what it met"
    how = "was killed" if killed_by else "ended without a word"
    fewer = f"fewer than data.workers={workers}" if workers > 1 else "data.workers=0"
    return (
        f"data: a loader worker {how}, most likely because this machine's memory is full; take {fewer}, a smaller "
        "data.memory_mb or data.batch_size, or ask for more memory"
    )
