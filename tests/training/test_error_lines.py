# SPDX-License-Identifier: Apache-2.0
"""What libraries raise, in our words."""

from __future__ import annotations

import errno

import pytest

from clip_align.errors import TOO_MANY_FILES
from clip_align.training.error_lines import GPU_MEMORY, SHARED_MEMORY, explained, peer_is_gone

IN_WORKER = """Caught {name} in DataLoader worker process 3.
Original Traceback (most recent call last):
  File "worker.py", line 349, in _worker_loop
    data = fetcher.fetch(index)
{name}: {text}"""
DIED = "DataLoader worker (pid(s) 17, 18) exited unexpectedly"


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), GPU_MEMORY),
        (OSError(errno.EMFILE, "Too many open files"), TOO_MANY_FILES),
        (RuntimeError("received 0 items of ancdata"), TOO_MANY_FILES),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), TOO_MANY_FILES),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left"), SHARED_MEMORY),
        (
            RuntimeError(IN_WORKER.format(name="RuntimeError", text="unable to write to file </torch_9_1>: No space")),
            SHARED_MEMORY,
        ),
        (
            RuntimeError(IN_WORKER.format(name="ValueError", text="a\nb: c")),
            "data: ValueError: a (in loader worker 3; HYDRA_FULL_ERROR=1 shows where)",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/a/x"),
            "disk: /runs/a/x cannot be written, the disk is full; free some space",
        ),
        (
            RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1920000ms for recv operation"),
            "ranks: another rank did not come to a collective in time; its own output says why, if it could say",
        ),
        (
            MemoryError(),
            "memory: this machine has no more; take fewer data.workers, a smaller data.memory_mb, data.batch_size or "
            "evaluation.batch_size, or ask for more memory",
        ),
        (ValueError("something else"), None),
    ],
)
def test_known_errors_are_one_line_with_what_to_do(error: BaseException, line: str | None) -> None:
    assert explained(error) == line


@pytest.mark.parametrize(
    ("killed_by", "workers", "line"),
    [
        (
            "SIGKILL",
            4,
            "data: a loader worker was killed, most likely because this machine's memory is full; take fewer than "
            "data.workers=4, a smaller data.memory_mb or data.batch_size, or ask for more memory",
        ),
        (
            None,
            1,
            "data: a loader worker ended without a word, most likely because this machine's memory is full; take "
            "data.workers=0, a smaller data.memory_mb or data.batch_size, or ask for more memory",
        ),
        ("SIGSEGV", 2, "data: a loader worker was ended by SIGSEGV; data.workers=0 shows what it met"),
        ("SIGBUS", 2, SHARED_MEMORY),
    ],
)
def test_a_dead_worker_is_reported_with_what_ended_it(killed_by: str | None, workers: int, line: str) -> None:
    assert explained(RuntimeError(DIED), workers, killed_by) == line


def test_a_peer_that_is_gone() -> None:
    assert peer_is_gone(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"))
    assert not peer_is_gone(RuntimeError("size mismatch"))
