# SPDX-License-Identifier: Apache-2.0
"""A configuration from plain data, a composed yaml or a stored run's, and back; runs of earlier releases are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from clip_align import structure
from clip_align.config import (
    CALLBACK,
    CallbackConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    KindConfig,
    Source,
    TrackerConfig,
    TrainerConfig,
    WeightNames,
)
from clip_align.errors import Problem, UserError
from clip_align.kinds import SOURCES, TRACKERS
from clip_align.spelling import unknown_key


def to_plain(config: Config) -> dict[str, Any]:
    """Plain python for yaml files and checkpoints; ``from_plain`` reads it back."""
    result: dict[str, Any] = structure.plain(config)
    return result


def from_plain(plain: Mapping[str, Any]) -> Config:
    """The configuration that ``to_plain`` wrote (or the resolved yaml); UserError with every error."""
    errors: list[Problem] = []
    config = read(plain, errors)
    if errors or config is None:
        raise UserError(*errors)
    return config


def read(plain: Mapping[str, Any], errors: list[Problem]) -> Config | None:
    """The configuration in ``plain``; invalid values are put into ``errors`` and replaced by defaults."""
    return structure.build(Config, plain, "", errors)


def _data(value: object, path: str, errors: list[Problem]) -> Any:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or SOURCES.target(kind) is None:
        what = f"{structure.shown(kind)} is not one of {', '.join(SOURCES.names())}; choose with {path}=…"
        errors.append(Problem(f"{path}.kind", what))
        return structure.INVALID
    return structure.build(SOURCES.load(kind), value, path, errors)  # imports the module of this kind alone


def _kind(value: object, path: str, errors: list[Problem]) -> Any:
    """From ``{kind, option: value, …}``, or the name of a kind, as older runs stored it."""
    plain = {"kind": value} if isinstance(value, str) else value
    if not isinstance(plain, Mapping) or not isinstance(plain.get("kind"), str):
        errors.append(Problem(path, f"{structure.shown(value)} does not name a kind; choose with {path}=…"))
        return structure.INVALID
    return KindConfig(plain["kind"], {str(k): v for k, v in plain.items() if k != "kind"})


def _tracker(value: object, path: str, errors: list[Problem]) -> Any:
    """Keys other than the common ones are trackers: true, false, or the options of one in use."""
    if not isinstance(value, Mapping):
        errors.append(Problem(path, f"{structure.shown(value)} is not a group of keys"))
        return structure.INVALID
    own = {f.name for f in fields(TrackerConfig)} - {"kinds"}  # kinds is not typed: it is made of the other keys
    kinds: dict[str, Mapping[str, Any]] = {}
    for name in map(str, value):
        switch = value[name]
        options = switch if isinstance(switch, Mapping) else {}
        if name in own or switch is None or switch is False:
            continue
        if TRACKERS.target(str(options.get("kind", name))) is None:
            errors.append(unknown_key(f"{path}.{name}", [f"{path}.{n}" for n in (*own, *TRACKERS.names())]))
        elif switch is not True and not isinstance(switch, Mapping):
            errors.append(Problem(f"{path}.{name}", f"{structure.shown(switch)} is not true, false or a group of keys"))
        else:
            kinds[name] = dict(options)
    # also where kinds are wrong: every error at once
    common = structure.build(TrackerConfig, {k: v for k, v in value.items() if k in own}, path, errors)
    return replace(common or TrackerConfig(), kinds=kinds)


def _sources(value: object, path: str, errors: list[Problem]) -> tuple[Source, ...]:
    """One path, a list of paths, or a list of ``{shards, weight}``."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not value:
        what = f"{structure.shown(value)} is not a path or a list: {path}='/a/x-{{000..003}}.tar'"
        errors.append(Problem(path, what))
        return ()
    plain = [{"shards": v} if isinstance(v, str) else v for v in value]
    built: list[Source | None] = [structure.build(Source, v, f"{path}[{i}]", errors) for i, v in enumerate(plain)]
    return tuple(s for s in built if s is not None)


def _trainer(value: object, path: str, errors: list[Problem]) -> Any:
    """A stored group without ``accumulate_grad_batches`` is of an earlier release, whose ``accumulate`` meant that."""
    if isinstance(value, Mapping) and "accumulate" in value and "accumulate_grad_batches" not in value:
        value = {**value, "accumulate": 1, "accumulate_grad_batches": value["accumulate"]}
    return structure.build(TrainerConfig, value, path, errors)


def _evaluation(value: object, path: str, errors: list[Problem]) -> Any:
    """A stored group without ``weights`` is of an earlier release, whose curves are of the raw weights."""
    older = {"weights": "raw"} if isinstance(value, Mapping) and "weights" not in value else {}
    return structure.build(EvaluationConfig, {**older, **value} if isinstance(value, Mapping) else value, path, errors)


def _weights(value: object, path: str, errors: list[Problem]) -> Any:
    """The name of a set of weights, or a list of names, each once."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, (list, tuple)) and (problem := structure.Distinct().problem(names, path)):
        errors.append(problem)
        return structure.INVALID
    found = structure.convert(list[Literal["raw", "ema"]], names, path, errors)
    return structure.INVALID if found is structure.INVALID else tuple(found)


def _callback(value: object, path: str, errors: list[Problem]) -> Any:
    """From ``{_target_, key: value, …}`` (yaml) or ``{target, arguments}`` (``to_plain``)."""
    name = path.removeprefix("callbacks.")  # the key that users chose, typed in overrides as callbacks.<name>
    if not CALLBACK.fullmatch(name):
        errors.append(Problem("callbacks", f"{structure.shown(name)} is no name; use letters, digits, underscores"))
        return structure.INVALID
    if isinstance(value, Mapping) and set(value) == {"target", "arguments"}:  # a stored run's
        arguments = value["arguments"]
        if not isinstance(value["target"], str) or not isinstance(arguments, Mapping):
            errors.append(Problem(path, "not a callback; target is a class, arguments are a group of keys"))
            return structure.INVALID
        # would be typed as an override when the run is resumed
        if odd := [key for key in map(str, arguments) if not CALLBACK.fullmatch(key)]:
            errors.append(Problem(path, f"{structure.shown(odd[0])} is no key; use letters, digits, underscores"))
            return structure.INVALID
        return CallbackConfig(value["target"], dict(arguments))
    if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
        errors.append(Problem(path, "not a callback; its yaml names a class: _target_: package.module.Class"))
        return structure.INVALID
    return CallbackConfig(value["_target_"], {str(k): v for k, v in value.items() if k != "_target_"})


# yaml has other forms of these than their fields; set here, because structure knows no configuration
structure.SPECIAL.update(
    {
        DataConfig: _data,
        EvaluationConfig: _evaluation,
        WeightNames: _weights,
        tuple[Source, ...]: _sources,
        CallbackConfig: _callback,
        KindConfig: _kind,
    }
)
structure.SPECIAL[TrackerConfig] = _tracker
structure.SPECIAL[TrainerConfig] = _trainer
