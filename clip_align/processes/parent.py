# SPDX-License-Identifier: Apache-2.0
"""In a child process: noticing that its parent has gone, however it went."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial

LOOK_SECONDS = 0.5


def when_parent_ends(parent: int, then: Callable[[], object]) -> None:
    """Do ``then``, in a thread, once the process ``parent`` is not ours any more.

    A killed parent cannot end its children; those would wait for it for ever, and whoever reads what they may
    still write would wait for them.
    """

    def look() -> None:
        while os.getppid() == parent:  # an orphan gets another parent
            time.sleep(LOOK_SECONDS)
        then()

    threading.Thread(target=look, daemon=True).start()


def end_with_parent(parent: int) -> None:
    """End this process, at once, when the process ``parent`` has gone."""
    when_parent_ends(parent, partial(os._exit, 1))
