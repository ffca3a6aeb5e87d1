# SPDX-License-Identifier: Apache-2.0
"""Quote typed values that Hydra's grammar cannot parse: braces, brackets in file names, blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

OPEN, CLOSE = "([{", ")]}"
NOT_TEXT = re.compile(r"[+-]?[\d._]+(e[+-]?\d+)?|true|false|[+-]?inf|nan", re.IGNORECASE)  # as Hydra's grammar reads it
ENTRY = re.compile(r"\s*[A-Za-z_]\w*\s*:")  # of a mapping: shards: …


def quoted(value: str) -> str:
    """``value`` with its texts in quotes; lists, mappings and sweeps (``a,b``) keep their structure.

    >>> quoted("/a/x-{000..003}.tar")
    "'/a/x-{000..003}.tar'"
    >>> quoted("[{shards: /a/{1,2}.tar, weight: 2}, /b.tar]")
    "[{shards: '/a/{1,2}.tar', weight: 2}, /b.tar]"
    """
    parts = list(split(value))
    return ",".join(_part(p) for p in parts)


def as_text(value: str) -> str:
    """``value`` in quotes, as one text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def numbers_as_text(value: str) -> str:
    """``value`` with numbers, true and false in quotes; the rest unchanged.

    >>> numbers_as_text("2024_01")
    "'2024_01'"
    >>> numbers_as_text("[1e3,first,null]")
    "['1e3',first,null]"
    """
    parts = []
    for part in split(value):
        bare = part.strip()
        if bare.startswith("[") and bare.endswith("]"):
            parts.append(f"[{numbers_as_text(bare[1:-1])}]")
        else:
            parts.append(as_text(bare) if NOT_TEXT.fullmatch(bare) else part)
    return ",".join(parts)


def as_typed(value: object) -> str:
    """A plain value in the form of an override.

    >>> as_typed({"sizes": [1, 2.5], "view": None, "root": "/a,b"})
    "{sizes:[1,2.5],view:null,root:'/a,b'}"
    """
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()  # true, not True
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{as_typed(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_typed, value)) + "]"
    return as_text(str(value))


def split(text: str) -> Iterator[str]:
    """Parts between commas that are outside brackets, braces and quotes."""
    depth, start, quote = 0, 0, ""  # open brackets, start of the part, open quote
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in OPEN:
            depth += 1
        elif letter in CLOSE:
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:i]
            start = i + 1
    yield text[start:]


def _part(text: str) -> str:
    bare = text.strip()
    before = text[: len(text) - len(text.lstrip())]  # blanks outside the quotes stay
    if bare[:1] in ("'", '"') or not bare:  # quoted already
        return text
    if bare.startswith("[") and bare.endswith("]"):
        return f"{before}[{quoted(bare[1:-1])}]"
    if bare.startswith("{") and bare.endswith("}"):
        entries = list(split(bare[1:-1]))
        if all(ENTRY.match(e) for e in entries):  # else it is a brace glob: {a,b}
            pairs = [entry.partition(":") for entry in entries]  # only values may need quotes
            inner = [f"{name}:" + _part(value) for name, _, value in pairs]
            return f"{before}{{{','.join(inner)}}}"
    if re.search(r"[{}\[\]()]", bare):
        return before + as_text(bare)
    return text
