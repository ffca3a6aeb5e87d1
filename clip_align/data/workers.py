# SPDX-License-Identifier: Apache-2.0
"""The loader's worker processes: their signals, their end, and shared memory.

A signal to the process group (Ctrl-C, a scheduler's SIGTERM) also reaches workers, but batches are needed until the run
has ended in order. Workers therefore ignore signals while they are needed; afterwards one SIGTERM ends them.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from ctypes import c_bool
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any

import torch
from torch.utils.data import get_worker_info

from clip_align.processes.parent import end_with_parent
from clip_align.processes.stop_signals import STOP_SIGNALS

END_S = 2.0  # seconds for workers to end after SIGTERM: one that is stopped, or waits for a disk, cannot
_KILLED_S = 5.0  # seconds for the system to remove killed ones


class Workers:
    """The worker processes of one loader, from start to end. Picklable for use in a worker (`begin`)."""

    def __init__(self) -> None:
        self._over: Any = RawValue(c_bool, False)  # shared with the workers; one byte needs no lock
        self._processes: list[BaseProcess] = []
        self._training = os.getpid()  # the process that they read for

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Processes started inside are this loader's workers.

        They inherit blocked signals and keep them blocked; signals to this process are delivered after the block.
        torch's handler of SIGCHLD is removed: it raises in the main thread at any point, even within an update. The
        loader still notices a dead worker within 5 s when it waits for a batch.
        """
        before, on_child = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
        self._over.value = False
        self._training = os.getpid()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            self._processes += [p for p in multiprocessing.active_children() if p not in before]
            atexit.register(
                self.release
            )  # runs before multiprocessing's exit handler, which sends one SIGTERM and waits
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, on_child or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    @property
    def count(self) -> int:
        """Number of processes that were started."""
        return len(self._processes)

    @property
    def killed_by(self) -> str | None:
        """Name of the signal that ended one of them; None if none was."""
        codes = [process.exitcode or 0 for process in self._processes]
        return next((signal.Signals(-code).name for code in codes if code < 0), None)

    def __getstate__(self) -> dict[str, Any]:
        return {"_over": self._over, "_processes": [], "_training": self._training}

    def begin(self, worker: int) -> None:
        """In a worker, before its first batch (``worker_init_fn``): leave signals to the process that trains.

        Signals stay blocked in all threads, and one thread waits for SIGTERM: a handler would run only when the main
        thread returns from waiting for work.
        """
        # torch tests for this every 5 s only, and for the parent: a fork server, where that is the start method
        end_with_parent(self._training)
        threading.Thread(target=self._wait_for_sigterm, daemon=True).start()

    def release(self) -> None:
        """Let SIGTERM end workers from now on: no more batches are needed."""
        self._over.value = True

    def kill(self) -> bool:
        """Kill the workers, from any thread; a pending wait for a batch then raises. False if there were none."""
        living = [process for process in self._processes if process.is_alive()]
        for process in living:
            process.kill()
        return bool(living)

    def end(self) -> bool:
        """End the remaining workers, by SIGTERM and then by SIGKILL; returns whether all have ended."""
        self.release()
        atexit.unregister(self.release)
        left = _ended(self._processes, BaseProcess.terminate, END_S)
        return not _ended(left, BaseProcess.kill, _KILLED_S)

    def _wait_for_sigterm(self) -> None:
        while signal.sigwait([signal.SIGTERM]):
            if self._over.value:
                os._exit(0)


def _ended(processes: list[BaseProcess], send: Callable[[BaseProcess], None], patience_s: float) -> list[BaseProcess]:
    """Signal all living processes; returns those that still live after ``patience_s`` seconds."""
    living = [process for process in processes if process.is_alive()]
    for process in living:
        send(process)
    limit = time.monotonic() + patience_s
    for process in living:
        process.join(max(0.0, limit - time.monotonic()))
    return [process for process in living if process.is_alive()]


def shared(*tensors: torch.Tensor) -> None:
    """In a worker, move tensors to shared memory, so that a lack of it is an error in the parent.

    torch would do this later, in a thread whose errors are only printed: the batch would be lost, and the parent would
    wait for ever. Without effect in the training process.
    """
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
