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

# U+061C, 200E and 200F mark a direction, 202A to 202E and 2066 to 2069 embed, override and isolate one
_DIRECTION = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))


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
        self.lines = tuple(type(line)(visible(line)) for line in lines)  # a Missing stays one
        super().__init__("\n".join(self.lines))


class RunError(UserError):
    """The same, for a failure while the run is under way (exit code 1)."""

    exit_code = FAILED


def visible(text: str) -> str:
    """The text with what a terminal or page would obey instead of showing written as an escape, like ``\\x1b``.

    Control characters (so escape sequences and line breaks), line and paragraph separators, controls of the writing
    direction, and halves of surrogate pairs, which no UTF-8 output can hold. Whatever comes from data (keys of a tar,
    captions, paths) passes through here before it is shown or written down; lines of a `UserError` do so by themselves.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _is_obeyed(c) else c for c in text)


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTION
