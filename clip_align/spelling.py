# SPDX-License-Identifier: Apache-2.0
"""Suggestions for misspelt words: the nearest valid key, option, callback or command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from clip_align.errors import Problem

__all__ = ["nearest", "unknown_key", "unknown_options"]


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word most similar to ``word``, None if none is similar.

    Of dotted keys those with the same parent are compared by their last part, then all as a whole, then all by
    their last part, so that ``max_steps`` finds ``trainer.max_steps``.
    """
    known = list(valid)
    begun = [k for k in known if k.startswith(word)]
    if len(begun) == 1 and len(word) > 1:  # one letter is a coincidence
        return begun[0]
    parent, _, last = word.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    others = [k for k in known if k not in siblings]
    # reversed: the first of several keys with one last part wins
    tails = {k.rpartition(".")[2]: k for k in reversed(known)}
    for compared, words in (
        (last, {k.rpartition(".")[2]: k for k in siblings}),
        (word, {k: k for k in others}),
        (last, tails),
    ):
        found = difflib.get_close_matches(compared, words, 1, 0.6)  # 0.6: difflib's own default
        if found:
            return words[found[0]]
    return None


def unknown_options(given: Iterable[str], valid: Sequence[str]) -> list[Problem]:
    """The problems of a command's unknown keys, with the nearest valid one and all of them.

    Args:
        given: keys that were typed.
        valid: keys of the command.
    """
    problems = []
    for key in given:
        if key not in valid:
            guess = nearest(key, valid)
            hint = f"did you mean {guess}? " if guess else ""
            problems.append(Problem(key, f"unknown key; {hint}valid: {', '.join(valid)}"))
    return problems


def unknown_key(path: str, valid: Iterable[str]) -> Problem:
    """The problem of an unknown key, with the nearest valid key or else the valid keys of its section.

    ``path`` and ``valid`` are dotted keys.
    """
    known = sorted(valid)
    guess = nearest(path, known)
    if guess:
        return Problem(path, f"unknown key; did you mean {guess}?")
    parent = path.rpartition(".")[0]
    start = f"{parent}." if parent else ""
    # _target_ is written in yaml files, not typed
    below = {k.removeprefix(start).partition(".")[0] for k in known if k.startswith(start)} - {"_target_"}
    where = f"under {parent}" if parent else "here"
    return Problem(path, f"unknown key; valid {where}: {', '.join(sorted(below)) or 'none'}")
