# SPDX-License-Identifier: Apache-2.0
"""In a child process: noticing that its parent has gone, however it went."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from functools import partial

LOOK_SECONDS = 0.5


def when_parent_ends(parent: int, then: Callable[[], object]) -> None:
    """Do ``then``, in a thread, once the process ``parent`` has ended.

    A killed parent cannot end its children; those would wait for it for ever, and whoever reads what they may
    still write would wait for them.

    Args:
        parent: of this process, or the process on whose behalf a fork server has started this one: the server, which
            is the parent then, lives as long as any process that it has started.
        then: called in the thread.
    """
    ended = _ended_parent(parent) if os.getppid() == parent else _ended_other(parent)

    def look() -> None:
        while not ended():
            time.sleep(LOOK_SECONDS)
        then()

    threading.Thread(target=look, daemon=True).start()


def _ended_parent(parent: int) -> Callable[[], bool]:
    return lambda: os.getppid() != parent  # an orphan gets another parent


def _ended_other(process: int) -> Callable[[], bool]:
    """Whether a process has ended that is not the parent; one that nobody has waited for counts as ended."""
    if hasattr(os, "pidfd_open"):  # Linux: it cannot be mistaken for a later process of the same number
        try:
            file = os.pidfd_open(process)
        except ProcessLookupError:
            return lambda: True
        look = select.poll()  # not select, which takes no descriptor above 1023
        look.register(file, select.POLLIN)
        return lambda: bool(look.poll(0))

    def gone() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        return False

    return gone


def end_with_parent(parent: int) -> None:
    """End this process, at once, when the process ``parent`` has gone."""
    when_parent_ends(parent, partial(os._exit, 1))
