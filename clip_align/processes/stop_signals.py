# SPDX-License-Identifier: Apache-2.0
"""The signals that end a command in order, and the exit code of each."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from clip_align.errors import INTERRUPTED, TERMINATED

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # schedulers send the last two ahead of a time limit
STOP_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))  # Windows has two of them


def exit_code(number: int | None) -> int:
    """130 for Ctrl-C, 143 for every other signal, 0 without one."""
    if number is None:
        return 0
    return INTERRUPTED if number == signal.SIGINT else TERMINATED


def handled() -> list[signal.Signals]:
    """The signals to set handlers for: not SIGHUP where it is ignored, as nohup has it."""
    hangup = getattr(signal, "SIGHUP", None)
    return [number for number in STOP_SIGNALS if number != hangup or signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """``handler`` for the signals that end a command, inside the block; the former ones after it.

    Only in the main thread, to which handlers belong; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in handled()}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def unwind_on_signals() -> None:
    """Let a signal that ends commands raise SystemExit with its exit code, so that what is half-made is removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(exit_code(number))

    for number in handled():
        if number != signal.SIGINT:  # raises KeyboardInterrupt
            signal.signal(number, stop)
