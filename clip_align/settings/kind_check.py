# SPDX-License-Identifier: Apache-2.0
"""Check configured losses, trackers and interventions against the constructors of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clip_align.config import KindConfig, TrackerConfig
from clip_align.errors import Problem
from clip_align.kinds import TRACKERS, Table
from clip_align.settings import arguments
from clip_align.settings.signatures import constructor
from clip_align.structure import shown


def checked(chosen: KindConfig, table: Table, errors: list[Problem]) -> KindConfig:
    """A loss or intervention with its options converted to the annotated types.

    Args:
        chosen: as configured.
        table: the kinds that there are.
        errors: receives a problem for an unknown kind, and for each unknown, missing or invalid option.
    """
    options = _options(table.group, chosen.kind, chosen.options, table, errors)
    return chosen if options is None else replace(chosen, options=options)


def checked_trackers(config: TrackerConfig, errors: list[Problem]) -> TrackerConfig:
    """The trackers with converted options; ``errors`` receives the problems."""
    kinds = {}
    for name, options in config.kinds.items():
        # a tracker of another package names its module; it is no option of its constructor
        named = {"kind": options["kind"]} if "kind" in options else {}
        own = {key: value for key, value in options.items() if key != "kind"}
        found = _options(f"tracker.{name}", str(options.get("kind", name)), own, TRACKERS, errors)
        kinds[name] = options if found is None else {**named, **found}
    return replace(config, kinds=kinds)


def _options(
    path: str, kind: str, given: Mapping[str, Any], table: Table, errors: list[Problem]
) -> dict[str, Any] | None:
    target = table.target(kind)
    parameters = constructor(target, table.base) if target is not None else None
    if parameters is None:
        what = f"{shown(kind)} is not one of {', '.join(table.names())}; choose with {table.group}=…"
        errors.append(Problem(f"{path}.kind", what))
        return None
    required = [name for name, parameter in parameters.items() if parameter.required and name not in given]
    errors += [Problem(f"{path}.{name}", f"not given; type {path}.{name}=…", missing=True) for name in required]
    return arguments.checked(path, parameters, given, errors)
