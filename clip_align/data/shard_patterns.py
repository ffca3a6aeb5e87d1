# SPDX-License-Identifier: Apache-2.0
"""From the patterns in ``data.shards`` to the list of tars."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from clip_align.config import Source
from clip_align.errors import Problem, UserError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_REMOTE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|:$)|^pipe:")  # a scheme; WebDataset's own ``pipe:command``


def shard_paths(sources: Sequence[Source]) -> tuple[list[list[str]], list[str]]:
    """Paths of the tars of each source, in order, and notes for the user: shards listed twice, used once.

    A pattern may hold braces (``{000..003}``), wildcards, or name a folder, meaning its ``*.tar``. UserError
    with a line per source that names something remote, or nothing that is there.
    """
    errors: list[Problem] = []
    found: list[list[str]] = []
    for source in sources:
        try:
            found.append(_expanded(source.shards))
        except UserError as error:
            errors += error.problems
    if errors:
        raise UserError(*errors)
    return without_repeats(found)


def _expanded(pattern: str) -> list[str]:
    if _REMOTE.match(pattern):
        raise _refusal(
            f"'{pattern}' is not a local path; shards are read from local disks only: "
            "copy them there and name the folder, '/folder/{000..003}.tar' or '/folder/*.tar'"
        )
    if not pattern.strip():
        raise _refusal("empty; name tars like '/folder/{000..003}.tar' or '/folder/*.tar'")
    plain = os.path.expanduser(pattern)
    # a path that exists is meant as it stands, braces and all; dict: a part listed twice is one
    parts = [plain] if os.path.exists(plain) else list(dict.fromkeys(expanded_braces(plain)))
    missing = [part for part in parts if not _matches(part)]
    if missing:
        raise _refusal(_nothing(pattern, missing, len(parts)))
    return [path for part in parts for path in _matches(part)]


def expanded_braces(pattern: str) -> list[str]:
    """``x-{008..010}{a,b}`` expanded as by a shell: x-008a, x-008b, x-009a, …; UserError for other braces."""
    braces = _BRACES.search(pattern)
    if braces is None:
        if "{" in pattern or "}" in pattern:
            raise _unclear(pattern)
        return [pattern]
    inside, span = braces.group(1), _RANGE.fullmatch(braces.group(1))
    if span is not None:
        first, last = span.groups()
        padded = any(end.startswith("0") and end != "0" for end in (first, last))  # as a shell: {08..10} is padded
        width = max(len(first), len(last)) if padded else 0
        step = 1 if int(first) <= int(last) else -1  # {3..1} counts down
        options = [f"{n:0{width}d}" for n in range(int(first), int(last) + step, step)]
    elif "," in inside:
        options = inside.split(",")
    else:
        raise _unclear(pattern)
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [path for option in options for path in expanded_braces(head + option + tail)]


def _unclear(pattern: str) -> UserError:
    return _refusal(f"the braces in '{pattern}' are no range and no list; write {{000..003}} or {{a,b}}")


def _refusal(text: str) -> UserError:
    return UserError(Problem("data.shards", text))


def _matches(part: str) -> list[str]:
    if os.path.isdir(part):
        return sorted(glob.glob(os.path.join(glob.escape(part), "*.tar")))
    if os.path.exists(part):
        return [part]
    return sorted(glob.glob(part, recursive=True)) if glob.has_magic(part) else []


def _nothing(pattern: str, missing: list[str], parts: int) -> str:
    first = missing[0]
    if os.path.isdir(first):
        what = f"the folder {first} has no *.tar in it"
    elif glob.has_magic(first):
        what = f"nothing matches {first}"
    else:
        what = f"no such shard: {os.path.abspath(first)}"
    more = f" (nor {len(missing) - 1:,} others of the {parts:,} in '{pattern}')" if len(missing) > 1 else ""
    return f"{what}{more}; name tars that exist, like '/folder/{{000..003}}.tar' or '/folder/*.tar'"


def without_repeats(found: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """The shards of each source, each where it is named first, and a note about those named twice."""
    seen: set[str] = set()
    repeated: list[str] = []
    unique: list[list[str]] = []
    for paths in found:
        unique.append([])
        for path in paths:
            real = os.path.realpath(path)  # a link to a shard is the same shard
            if real in seen:
                repeated.append(path)
            else:
                seen.add(real)
                unique[-1].append(path)
    if not repeated:
        return unique, []
    return unique, [f"data.shards: {len(repeated):,} shards are listed twice and used once (first: {repeated[0]})"]
