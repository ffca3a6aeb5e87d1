# SPDX-License-Identifier: Apache-2.0
"""Check configured losses, trackers and interventions against the constructors of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clip_align.config import Config, KindConfig, TrackerConfig
from clip_align.errors import Problem
from clip_align.kinds import INTERVENTIONS, LOSSES, TRACKERS, Table
from clip_align.settings import arguments
from clip_align.settings.signatures import constructor
from clip_align.structure import shown


def checked(config: Config, errors: list[Problem]) -> Config:
    """The configuration with converted options of every kind; ``errors`` receives the problems."""
    return replace(
        config,
        loss=_kind(config.loss, LOSSES, errors),
        intervention=_kind(config.intervention, INTERVENTIONS, errors),
        tracker=_trackers(config.tracker, errors),
    )


def _kind(chosen: KindConfig, table: Table, errors: list[Problem]) -> KindConfig:
    options = _options(table.group, chosen.kind, chosen.options, table, errors)
    return chosen if options is None else replace(chosen, options=options)


def _trackers(config: TrackerConfig, errors: list[Problem]) -> TrackerConfig:
    kinds = {}
    for name, options in config.kinds.items():
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
