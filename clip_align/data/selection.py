# SPDX-License-Identifier: Apache-2.0
"""What ``data.where`` leaves of the samples, as lines and errors for the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clip_align.data.bad_samples import Causes
from clip_align.data.where import condition
from clip_align.errors import Problem, UserError, some_of, visible
from clip_align.spelling import nearest

NAMED = 20  # fields that an error lists


def check_selection(where: str, fields: Iterable[Sequence[str]], left: int, filtered: Causes, place: str) -> None:
    """UserError where a field of the condition is in no sample, or where no sample meets it.

    Args:
        where: the condition.
        fields: of the json of the samples of each shard.
        left: samples that are used, or bad.
        filtered: samples that the condition leaves out.
        place: the shards that these are in, as a text.
    """
    if not filtered.total:
        return
    there = dict.fromkeys(name for names in fields for name in names)
    known = f"the fields there are: {some_of(sorted(there), NAMED)}" if there else "no sample has a json"
    problems = []
    for name in condition(where).fields:
        if name not in there:
            guess = nearest(name, there)
            hint = f"did you mean {guess}? " if guess else ""
            problems.append(Problem("data.where", f"no sample in {place} has the field {name}; {hint}{known}"))
    if not problems and not left:
        what = f"{where} leaves none of {filtered.total:,} samples in {place}: {filtered}"
        problems.append(Problem("data.where", what))
    if problems:
        raise UserError(*problems)


def left_out_by_where(where: str | None, left: int, filtered: Causes) -> tuple[str, ...]:
    """A line about what a condition leaves; none without one.

    Args:
        where: the condition.
        left: usable samples that meet it.
        filtered: those that it leaves out.
    """
    if where is None:
        return ()
    out = f"{filtered.total:,} left out: {filtered}" if filtered.total else "none left out"
    return (visible(f"data: {left:,} samples meet data.where={where}, {out}"),)
