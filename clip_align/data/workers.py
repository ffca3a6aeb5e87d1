# SPDX-License-Identifier: Apache-2.0
"""The loader's worker processes: what signals do to them, how they end, and the memory they share with training.

A signal to the whole process group (Ctrl-C, a scheduler's SIGTERM) reaches workers too, while batches have to come
until the run has ended in order. So workers ignore it as long as they are needed; afterwards one is enough.
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

END_S = 2.0  # for workers to end after SIGTERM: one that is stopped, or waits for a disk, cannot
_KILLED_S = 5.0  # for the system to take away killed ones


class Workers:
    """The worker processes of one loader, from their start to their end. Picklable as far as they need it."""

    def __init__(self) -> None:
        self._over: Any = RawValue(c_bool, False)  # shared with the workers; one byte needs no lock
        self._processes: list[BaseProcess] = []

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Processes started inside are this loader's workers.

        They are born with the signals blocked, and keep them so; what comes to this process meanwhile is delivered
        after the block. torch's handler of SIGCHLD is not kept: it raises wherever the main thread is, in the middle of
        an update too; a dead worker is noticed all the same, within 5 s, by whoever waits for a batch.
        """
        before, on_child = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
        self._over.value = False
        former = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            self._processes += [p for p in multiprocessing.active_children() if p not in before]
            atexit.register(self.release)  # runs before multiprocessing's own, which sends one SIGTERM and waits
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, on_child or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    @property
    def count(self) -> int:
        """Number of processes that were started."""
        return len(self._processes)

    @property
    def killed_by(self) -> str | None:
        """Name of the signal that has ended one of them; None where none was ended so."""
        codes = [process.exitcode or 0 for process in self._processes]
        return next((signal.Signals(-code).name for code in codes if code < 0), None)

    def __getstate__(self) -> dict[str, Any]:
        return {"_over": self._over, "_processes": []}

    def begin(self, worker: int) -> None:
        """In a worker, before its first batch (``worker_init_fn``): leave signals to the process that trains.

        They stay blocked in all of its threads, and one thread takes SIGTERM: a handler would have to wait until the
        main thread comes back from waiting for work.
        """
        end_with_parent(os.getppid())  # torch's own look is every 5 s
        threading.Thread(target=self._wait_for_sigterm, daemon=True).start()

    def release(self) -> None:
        """No more batches are needed: from now on one SIGTERM ends a worker."""
        self._over.value = True

    def kill(self) -> bool:
        """End the workers at once, from any thread; whoever waits for a batch gets an error. False without workers."""
        living = [process for process in self._processes if process.is_alive()]
        for process in living:
            process.kill()
        return bool(living)

    def end(self) -> bool:
        """End the workers that are left, by SIGTERM and then by SIGKILL; whether all are gone."""
        self.release()
        atexit.unregister(self.release)
        left = _ended(self._processes, BaseProcess.terminate, END_S)
        return not _ended(left, BaseProcess.kill, _KILLED_S)

    def _wait_for_sigterm(self) -> None:
        while signal.sigwait([signal.SIGTERM]):
            if self._over.value:
                os._exit(0)


def _ended(processes: list[BaseProcess], send: Callable[[BaseProcess], None], patience_s: float) -> list[BaseProcess]:
    """``send`` a signal to those of ``processes`` that live; those that still do so after ``patience_s`` seconds."""
    living = [process for process in processes if process.is_alive()]
    for process in living:
        send(process)
    limit = time.monotonic() + patience_s
    for process in living:
        process.join(max(0.0, limit - time.monotonic()))
    return [process for process in living if process.is_alive()]


def shared(*tensors: torch.Tensor) -> None:
    """In a worker: move tensors to shared memory now, where a lack of it is an error that reaches the parent.

    torch would do so later, in a thread of its own whose errors are printed and then forgotten: the batch is lost, and
    the parent waits for it for ever. Does nothing in the process that trains.
    """
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
