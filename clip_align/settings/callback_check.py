# SPDX-License-Identifier: Apache-2.0
"""Perceptual callbacks as configured, against the constructors of their classes, without importing them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clip_align.errors import Missing
from clip_align.runs.provenance import versions
from clip_align.settings.signatures import (
    BASE,
    NO_MODULE,
    NotFoundError,
    Parameter,
    check_markers,
    class_text,
    constructor,
)
from clip_align.spelling import unknown_key
from clip_align.structure import INVALID, convert, plain

if TYPE_CHECKING:
    from clip_align.config import CallbackConfig


def checked(callbacks: Mapping[str, CallbackConfig], errors: list[str]) -> dict[str, CallbackConfig]:
    """The callbacks with their arguments as the annotations ask: 1e2 is the whole number 100 for the callback too.

    ``errors`` grows by a line for every class that is not one, unknown key, wrong type and range, and for two that
    would write the same curves.
    """
    found = {name: _checked(f"callbacks.{name}", callback, errors) for name, callback in callbacks.items()}
    by_key: dict[str, list[str]] = defaultdict(list)
    for name, callback in callbacks.items():
        if key := record_key(name, callback.target, callback.arguments):
            by_key[key].append(name)
    for key, names in by_key.items():
        if len(names) > 1:
            errors.append(f"callbacks: {' and '.join(names)} would both write {key}; give one of them another name")
    return found


def record_key(name: str, target: str, arguments: Mapping[str, Any]) -> str | None:
    """``family/name`` of a callback as configured; None where its class does not say its family as a text.

    Args:
        name: its key in the config, which is its name unless it is given another one.
        target: its class. arguments: of its constructor.
    """
    try:
        family = class_text(target, "family")
    except NotFoundError:
        return None
    return f"{family}/{arguments.get('name') or name}" if family else None


def takes(target: str, argument: str) -> bool:
    """Whether the constructor of a callback class, or of its bases, has this argument."""
    try:
        return argument in (constructor(target) or {})
    except NotFoundError:
        return False


def _checked(path: str, callback: CallbackConfig, errors: list[str]) -> CallbackConfig:
    parameters = _parameters(path, callback.target, errors)
    if parameters is None:
        return callback
    arguments: dict[str, Any] = {}
    for name, value in callback.arguments.items():
        if name == "every_n_steps" and name in parameters and value is None:  # the run's, which its length may decide
            arguments[name] = None
        elif name in parameters:
            arguments[name] = _argument(parameters[name], value, f"{path}.{name}", errors)
        else:
            errors.append(unknown_key(f"{path}.{name}", [f"{path}.{known}" for known in parameters]))
    if "name" in parameters and callback.arguments.get("name") is None:  # then it is the key
        check_markers(parameters["name"], path.removeprefix("callbacks."), path, errors)
    for name, parameter in parameters.items():
        if parameter.required and name not in callback.arguments:
            errors.append(Missing(f"{path}.{name}: not given; the callback needs it: {path}.{name}=…"))
    return replace(callback, arguments=arguments)


def _parameters(path: str, target: str, errors: list[str]) -> Mapping[str, Parameter] | None:
    """Arguments of the class that ``path`` names, None and a line where it is no callback."""
    try:
        parameters = constructor(target)
    except NotFoundError as missing:
        if target.startswith("clip_align.") and missing.why == NO_MODULE:
            release = versions()["clip-align"] or "this version"
            off = f"leave it out: ~callbacks.{path.removeprefix('callbacks.')}"
            errors.append(Missing(f"{path}: its loader is not part of clip-align {release} yet; {off}"))
        else:
            errors.append(f"{path}._target_: {target}: {missing.why}; is its package installed in this environment?")
        return None
    if parameters is None:
        errors.append(f"{path}._target_: {target} is not a perceptual callback, a subclass of {BASE}")
    return parameters


def _argument(parameter: Parameter, value: object, where: str, errors: list[str]) -> Any:
    """A value as its annotation asks, in the form that yaml files and checkpoints take."""
    before = len(errors)
    converted = convert(parameter.hint, value, where, errors)
    if len(errors) == before:
        check_markers(parameter, converted, where, errors)
    return value if converted is INVALID else plain(converted)
