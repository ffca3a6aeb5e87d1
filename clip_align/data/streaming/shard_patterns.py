# SPDX-License-Identifier: Apache-2.0
"""From the patterns in ``data.shards`` to the list of shards that are streamed, local and remote."""

from __future__ import annotations

import glob
from collections.abc import Sequence

from clip_align.config import Source
from clip_align.data.shard_patterns import expanded_braces, shard_paths, without_repeats
from clip_align.data.streaming.remote import Transfer, TransferError, filesystem, listed, scheme_of, shown
from clip_align.errors import Problem, UserError


def streaming_shards(sources: Sequence[Source], transfer: Transfer) -> tuple[list[list[str]], list[str]]:
    """Paths and addresses of each source's shards, in order, and notes for the user: shards listed twice, used once.

    Args:
        sources: patterns: braces, and where the store can be listed also wildcards, or a folder that ends with ``/``.
        transfer: attempts and times.

    UserError with a line per source that names nothing.
    """
    errors: list[Problem] = []
    found: list[list[str]] = []
    for source in sources:
        try:
            local = not scheme_of(source.shards)
            found += shard_paths([source])[0] if local else [_remote(source.shards, transfer)]
        except UserError as error:
            errors += error.problems
        except TransferError as error:
            errors.append(Problem("data.shards", f"{error}; name shards that exist"))
    if errors:
        raise UserError(*errors)
    return without_repeats(found)


def _remote(pattern: str, transfer: Transfer) -> list[str]:
    filesystem(pattern, transfer.timeout_s)  # a missing package is reported before anything else
    parts = list(dict.fromkeys(expanded_braces(pattern)))
    if not any(_listing(part) for part in parts):
        return parts  # not one of them is asked for: there may be tens of thousands
    if scheme_of(pattern) in ("http", "https"):
        what = f"{shown(pattern)}: HTTP lists no files; name the shards with braces, like x-{{000..003}}.tar"
        raise UserError(Problem("data.shards", what))
    found = [url for part in parts for url in (listed(part, transfer) if _listing(part) else [part])]
    if not found:
        raise UserError(Problem("data.shards", f"nothing matches {shown(pattern)}; name shards that exist"))
    return found


def _listing(part: str) -> bool:
    if part.endswith("/"):
        return True
    # a query of HTTP begins with the wildcard for one character
    return glob.has_magic(part.partition("?")[0] if scheme_of(part) in ("http", "https") else part)
