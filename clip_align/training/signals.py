# SPDX-License-Identifier: Apache-2.0
"""What signals do: end at once before training, set a flag during it.

SIGINT is the user's Ctrl-C. SIGTERM, SIGHUP (a closed terminal; nohup has it ignored), SIGUSR1 and SIGUSR2 (what
schedulers send ahead of a time limit) all mean: end in order, with exit code 143.

A handler that saves or talks to other ranks can run between any two instructions, also inside a
collective that another rank is waiting in. So during training it only notes what came; `stop_check` asks all
ranks about it at the border of a step. No torch here: the handlers are set before it is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from clip_align.processes.stop_signals import STOP_SIGNALS, exit_code, handled, handling
from clip_align.processes.torchrun import under_torchrun

PATIENCE_S = 2.0  # a second Ctrl-C within this time is the first one, held too long
STUCK_S = 25.0  # under torchrun, which kills after 30: for the main thread to note a signal during training
WAIT_S = 5.0  # for the main thread to end by itself; it cannot while it is inside a library's code

_installed: list[Signals] = []


class Signals:
    """The state of the signals in this process; installed once, by the main thread.

    received: number of the first signal that came during training, else None. came_at: when (monotonic seconds).
    hard: called before the process ends at once (kill children, note the exit code); must be quick.
    own_process: False where the process is somebody's program or notebook: it is never ended here, and a second Ctrl-C
    unwinds the training instead.
    """

    def __init__(self, hard: Callable[[int], None] = lambda code: None, own_process: bool = True) -> None:
        self.received: int | None = None
        self.came_at = 0.0
        self._arrived: tuple[int, float] | None = None  # during training, as the thread sees it
        self._hard, self._own_process = hard, own_process
        self._training = False
        self._over, self._noted = threading.Event(), threading.Event()
        self._under_torchrun = under_torchrun()

    @property
    def exit_code(self) -> int:
        """130 or 143 when a signal came during training, else 0."""
        return exit_code(self.received)

    @property
    def first_signal(self) -> tuple[int, float] | None:
        """The first signal that came during training and when (monotonic seconds), noted by the main thread or not.

        One that waits in a collective for a rank that does not come notes nothing.
        """
        return self._arrived if self.received is None else (self.received, self.came_at)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handlers in place inside the block, the former ones after it."""
        if threading.current_thread() is not threading.main_thread():
            yield  # handlers belong to the main thread; whoever runs us in another one keeps theirs
            return
        # somebody's process is never ended here, so that nothing has to watch its main thread
        with self._watched() if self._own_process else contextlib.nullcontext(), self._handling():
            yield

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        listening, telling = os.pipe()
        os.set_blocking(telling, False)  # as set_wakeup_fd wants it: a handler must not wait
        # written at once, whatever the main thread is in
        wakeup = signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(listening,), daemon=True).start()
        try:
            yield
        finally:
            self._over.set()
            signal.set_wakeup_fd(wakeup)
            os.close(telling)  # ends the thread's read

    @contextlib.contextmanager
    def _handling(self) -> Iterator[None]:
        with handling(self._came):
            _installed.append(self)
            try:
                yield
            finally:
                _installed.remove(self)

    def training_starts(self) -> None:
        """From now on a signal is noted only."""
        self._training = True

    def _came(self, number: int, frame: FrameType | None) -> None:
        if not self._training:
            raise SystemExit(exit_code(number))  # unwinds: pools end, temporary files go
        if self.received is None:
            self.received, self.came_at = number, time.monotonic()
            self._noted.set()
        elif number == signal.SIGINT and time.monotonic() - self.came_at > PATIENCE_S and not self._under_torchrun:
            if not self._own_process:
                raise SystemExit(exit_code(number))  # `RunEnd.followed` turns it into a code
            self._end_at_once(exit_code(number))

    def _watch(self, listening: int) -> None:
        """Ends the process when a signal came that the main thread cannot see.

        Python runs handlers between two instructions of the main thread, which may be waiting in a
        collective for a rank that does not come. During training only under torchrun, which would kill without a word;
        elsewhere a step, or a write to a slow disk, may take its time.
        """
        with contextlib.suppress(OSError):
            while came := os.read(listening, 1):
                if came[0] not in STOP_SIGNALS:  # the descriptor gets every signal that has a handler, such as SIGCHLD
                    continue
                if self._training and self._arrived is None:
                    self._arrived = came[0], time.monotonic()
                if self._training and not self._under_torchrun:
                    continue
                seen = self._noted.wait(STUCK_S) if self._training else self._over.wait(WAIT_S)
                if not seen:
                    self._end_at_once(exit_code(came[0]))
        os.close(listening)

    def _end_at_once(self, code: int) -> None:
        with contextlib.suppress(Exception):  # whatever is wrong with it, the process ends
            self._hard(code)
        os._exit(code)


def _in_forked_child() -> None:
    """A forked process is not the one that trains: it gets the usual handlers, and notes nothing."""
    if _installed:
        _installed.clear()
        signal.set_wakeup_fd(-1)  # the pipe is the parent's
        for number in handled():
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


os.register_at_fork(after_in_child=_in_forked_child)
