# SPDX-License-Identifier: Apache-2.0
"""Errors meant for the user: one clear line each, and the exit code that goes with them."""

from __future__ import annotations

import unicodedata

REFUSED = 2  # before step 0: config, data, missing files, unusable cache
FAILED = 1  # during the run
INTERRUPTED = 130  # SIGINT, after checkpoint, record and report
TERMINATED = 143  # SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2, likewise

TOO_MANY_FILES = (
    "system: too many open files; raise the limit with ulimit -n 4096, or take fewer data.workers "
    "(each holds some files open)"
)


class Missing(str):
    """A line about something that is not there, not about a mistake in what was typed: a dry run continues with it."""


class UserError(Exception):
    """One or more errors, a line each: what, where, what would be valid, what to do.

    Raised before step 0 (exit code 2). ``lines`` keeps the errors apart, so that all of them
    can be reported at once. ``on_all_ranks``: every rank of the run raises it, so that one may say it for all.
    """

    exit_code = REFUSED
    on_all_ranks = False

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(map(_one_line, lines))
        super().__init__("\n".join(self.lines))


class RunError(UserError):
    """The same, for a failure while the run is under way (exit code 1)."""

    exit_code = FAILED


def _one_line(text: str) -> str:
    shown = "".join(c if unicodedata.category(c) != "Cc" else c.encode("unicode_escape").decode() for c in text)
    return text if shown == text else shown
