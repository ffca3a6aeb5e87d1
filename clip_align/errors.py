# SPDX-License-Identifier: Apache-2.0
"""Errors for the user: one line each, and their exit codes."""

from __future__ import annotations

import errno
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

S = TypeVar("S")
T = TypeVar("T")

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


_OBEYED = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: controls, surrogates, line and paragraph separators


@dataclass(frozen=True)
class Problem:
    """One problem of a configuration, as data, so that no message has to be parsed.

    key: dotted name (``trainer.max_steps``), or "". text: what is wrong, what would be valid, what to do. missing:
    something does not exist, as opposed to a mistake in the overrides; a dry run reports it and continues. shown: start
    of the line if it is not the key (``model=vit_b_23`` for the key ``model``).
    """

    key: str
    text: str
    missing: bool = False
    shown: str | None = None

    def __str__(self) -> str:
        """The line for the user."""
        start = self.key if self.shown is None else self.shown
        return visible(f"{start}: {self.text}" if start else self.text)


def option_problem(benchmark: str, option: str, text: str, start: str | None = None) -> Problem:
    """A problem of a benchmark's option, under its key in the configuration.

    Args:
        benchmark: key of the benchmark, ``family/name``, with which the line starts.
        option: of its constructor, with the element if any: ``layers``.
        text: what is wrong, what would be valid, what to do.
        start: of the line, if it is another.
    """
    key = f"callbacks.{benchmark.rpartition('/')[2]}.{option}"
    return Problem(key, text, shown=benchmark if start is None else start)


class Finding(NamedTuple):
    """A problem that depends on several keys; dropped if one of them is invalid itself.

    reads: those keys; empty: the problem's own.
    """

    problem: Problem
    reads: tuple[str, ...] = ()


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` of some names and the number of the others: ``a, b, c and 4 more``; empty for none."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def related(one: str, other: str) -> bool:
    """Whether two keys are equal, or one contains the other: ``data.scale[1]`` and ``data.scale`` or ``data``."""
    parts, others = re.split(r"[.\[]", one), re.split(r"[.\[]", other)
    shorter = min(len(parts), len(others))
    return parts[:shorter] == others[:shorter]  # whole parts: data.scale does not contain data.scale_max


class UserError(Exception):
    """One or more problems, a line each: what, where, what would be valid, what to do.

    Raised before step 0 (exit code 2). ``problems`` keeps them apart, so that all of them can be reported at once; a
    text stands for a problem without a key. ``on_all_ranks``: every rank of the run raises it, so one may report it for
    all.
    """

    exit_code = REFUSED
    on_all_ranks = False

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(p if isinstance(p, Problem) else Problem("", p) for p in problems)
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The problems as they are printed; too many open files are no fault of the file that was to be opened."""
        if isinstance(self.__cause__, OSError) and self.__cause__.errno == errno.EMFILE:
            return (TOO_MANY_FILES,)
        return tuple(map(str, self.problems))

    def _render_traceback_(self) -> list[str]:
        """What IPython and notebooks show in place of a traceback: the lines, as a command prints them."""
        return list(self.lines)

    def __reduce__(self) -> tuple[type[UserError], tuple[Problem, ...], dict[str, object]]:
        """Pickle with the separate problems."""
        return type(self), self.problems, self.__dict__  # Exception's own would call the class with the joined text


class RunError(UserError):
    """A failure during the run (exit code 1)."""

    exit_code = FAILED


def both(first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T]:
    """The results of both functions; if one or both raise UserError, a single one with the problems of both."""
    problems: list[Problem] = []
    results: list[Any] = []
    for work in (first, second):
        try:
            results.append(work())
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(problems))  # both may have found the same one
    return results[0], results[1]


def visible(text: str) -> str:
    """The text with what a terminal or page would obey instead of showing written as an escape, like ``\\x1b``.

    Control characters (so escape sequences and line breaks), line and paragraph separators, controls of the writing
    direction, and halves of surrogate pairs, which no UTF-8 output can hold. Whatever comes from data (keys of a tar,
    captions, paths) passes through here before it is shown or recorded; lines of a `UserError` do so automatically.
    """
    if text.isprintable():  # as nearly every text is
        return text
    obeyed = {c for c in text if unicodedata.category(c) in _OBEYED or c in _DIRECTION}
    return "".join(c.encode("unicode_escape").decode() if c in obeyed else c for c in text)
