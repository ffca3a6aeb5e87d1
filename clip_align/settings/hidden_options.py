# SPDX-License-Identifier: Apache-2.0
"""Options of a name that several places have: which one is used, and which ones are hidden by it.

Hydra takes the first yaml of a name, in the order of its search path, and says nothing: clip-align's own come first,
then those of installed packages, then those of a ``hydra.searchpath``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from clip_align.config import conf_dir
from clip_align.errors import Problem
from clip_align.settings.compose import PRIMARY, group_names, hydra
from clip_align.settings.override_check import as_bare
from clip_align.settings.parse_overrides import parse

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

__all__ = ["hidden_options", "report_hidden"]


def report_hidden(overrides: Sequence[str]) -> None:
    """Write the lines of `hidden_options` to standard error."""
    for line in hidden_options(overrides):
        print(line, file=sys.stderr, flush=True)


def hidden_options(overrides: Sequence[str]) -> list[str]:
    """A line for each typed option whose name several places have: which one is used, and what to do.

    ``overrides``: as typed, without errors; options that others choose by their defaults are not looked at.
    """
    unreadable: list[Problem] = []
    with hydra() as loader:
        parsed = parse(overrides, unreadable, loader)
        lines = [str(o.input_line) for o in parsed]
        groups = group_names(loader, lines)
        return [
            _line(group, name, places)
            for group, name in dict.fromkeys(_chosen(parsed, groups))
            if len(places := _places(loader, lines, f"{group}/{name}")) > 1
        ]


def _chosen(parsed: Sequence[Override], groups: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Group and name of every option that is typed."""
    for override in parsed:
        group = override.key_or_group
        if group not in groups or override.is_delete() or override.is_sweep_override():
            continue
        value = override.value()
        for name in value if isinstance(value, list) else [value]:
            yield group, as_bare(name)


def _places(loader: ConfigLoader, lines: Sequence[str], option: str) -> list[str]:
    """Where a yaml of this name is, the one that is used first."""
    # Hydra tells what is found, but has no public way to ask where, with a search path that is typed
    _, repository = cast("Any", loader)._parse_overrides_and_create_caching_repo(PRIMARY, list(lines))
    # "main": the folder given to Hydra, which is clip-align's; "schema", "hydra": registered by programs
    sources = [source for source in repository.get_sources() if source.provider not in ("schema", "hydra")]
    return [_name(source) for source in sources if source.is_config(option)]


def _name(source: Any) -> str:
    own = source.provider == "main" and source.path == str(conf_dir())
    return "clip-align" if own else f"{source.scheme()}://{source.path}"


def _line(group: str, name: str, places: Sequence[str]) -> str:
    used, *hidden = places
    files = " and ".join(f"{at}/{group}/{name}.yaml" for at in hidden)
    return f"{group}={name}: that of {used} is used, which hides {files}; give the file another name to choose it"
