# SPDX-License-Identifier: Apache-2.0
"""Typed overrides to Hydra's own, read by its parser; values that it would misread are quoted first."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from clip_align import config as schema
from clip_align.errors import Problem
from clip_align.kinds import SOURCES, TRACKERS
from clip_align.settings.quoting import as_text, numbers_as_text, quoted

DASHES = "no dashes but --help, --version, --cfg and --multirun"


def parse(overrides: Iterable[str], errors: list[Problem], loader: ConfigLoader) -> list[Override]:
    """Parse overrides with Hydra's parser; values with braces are quoted first.

    Args:
        overrides: as typed.
        errors: receives a problem for each unreadable override.
        loader: expands ``glob(…)`` in sweeps.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed: list[Override] = []
    for typed in overrides:
        key, equals, value = typed.partition("=")
        if key.startswith("-"):  # a flag that train does not have
            errors.append(Problem(typed, f"{DASHES}; settings are typed as key=value"))
            continue
        if not equals and not key.startswith("~"):
            errors.append(Problem(typed, "not of the form key=value; groups are chosen the same way: model=tiny"))
            continue
        if key.lstrip("+") in texts():  # before parsing, which would make 2024_01 the number 202401
            value = numbers_as_text(value)
            typed = f"{key}={value}"
        if key.startswith("tracker.") and TRACKERS.target(key.partition(".")[2]) is not None:
            key, typed = f"++{key}", f"++{typed}"  # the key exists only if its tracker was chosen
        # as typed first: what Hydra understands keeps its meaning; each form once
        for attempt in dict.fromkeys((typed, *_attempts(key, value))) if equals else (typed,):
            try:
                parsed.append(parser.parse_override(attempt))
                parsed[-1].config_loader = loader  # needed by a sweep over glob(…)
                break  # the first form that Hydra can parse
            except HydraException as error:
                reason = one_line(error)
        else:
            errors.append(_unreadable(parser, typed, key, reason))
    return parsed


@functools.cache
def texts() -> frozenset[str]:
    """Keys whose value is text, even if it looks like a number: name=2024_01."""
    found = []
    for name, hint in typing.get_type_hints(schema.Config).items():
        # the section of the data has the fields of every kind, whichever is chosen
        sections = [SOURCES.load(kind) for kind in SOURCES.names()] if name == SOURCES.group else [hint]
        for section in filter(dataclasses.is_dataclass, sections):
            found += [f"{name}.{key}" for key, inner in typing.get_type_hints(section).items() if _is_text(inner)]
        found += [name] if _is_text(hint) else []
    return frozenset(found)


def _is_text(hint: Any) -> bool:
    return hint in (str, str | None, tuple[str, ...])


def _unreadable(parser: OverridesParser, typed: str, key: str, reason: str) -> Problem:
    """The problem of an override that cannot be parsed: its value, or else its key, is at fault."""
    try:
        parser.parse_override(f"{key}=0")  # 0 is valid for the grammar whatever the key
    except HydraException:
        what = f"'{key}' is not a key; keys are names with a dot between two, like trainer.max_steps"
        return Problem(key, what, shown=typed)
    return Problem(key.lstrip("+~"), f"cannot be read ({reason}); put the value in quotes: '{key}=\"…\"'", shown=typed)


def _attempts(key: str, value: str) -> Iterator[str]:
    """Quoted forms of an override that Hydra cannot parse as typed."""
    yield f"{key}={quoted(value)}"
    if value[:1] not in ("[", "{", "'", '"'):  # an opening bracket or quote has to be closed
        yield f"{key}={as_text(value)}"


def one_line(error: BaseException) -> str:
    """An exception's text on one line, without Hydra's advice for programmers."""
    # some errors have no text of their own
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r" (?:See https?:|To append to your config|full_key:|Set the environment variable)", text)[0]
