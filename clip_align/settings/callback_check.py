# SPDX-License-Identifier: Apache-2.0
"""Check configured perceptual callbacks against the constructors of their classes, without importing them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clip_align.errors import Problem
from clip_align.settings import arguments
from clip_align.settings.signatures import (
    BASE,
    NotFoundError,
    Parameter,
    class_text,
    constructor,
)

if TYPE_CHECKING:
    from clip_align.config import CallbackConfig


def checked(callbacks: Mapping[str, CallbackConfig], errors: list[Problem]) -> dict[str, CallbackConfig]:
    """The callbacks with their arguments converted to the annotated types (1e2 to the integer 100).

    ``errors`` receives a problem for every class that is no callback, unknown key, wrong type and value out of range,
    and for two callbacks that would write the same curves.
    """
    found = {name: _checked(f"callbacks.{name}", callback, errors) for name, callback in callbacks.items()}
    by_key: dict[str, list[str]] = defaultdict(list)
    for name, callback in callbacks.items():
        # None where it is known only after importing the class
        if key := record_key(name, callback.target, callback.arguments):
            by_key[key].append(name)
    for key, names in by_key.items():
        if len(names) > 1:
            what = f"{' and '.join(names)} would both write {key}; give one of them another name"
            errors.append(Problem("callbacks", what))
    return found


def record_key(name: str, target: str, arguments: Mapping[str, Any]) -> str | None:
    """``family/name`` of a configured callback; None if its class does not define its family as a literal.

    Args:
        name: its key in the config, the default of its name.
        target: dotted name of its class.
        arguments: of its constructor.
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


def _checked(path: str, callback: CallbackConfig, errors: list[Problem]) -> CallbackConfig:
    parameters = _parameters(path, callback.target, errors)
    if parameters is None:
        return callback
    given = dict(callback.arguments)
    # null: the interval of the whole run, set once its length is known (training/default_intervals)
    followed = [n for n in ("every_n_steps",) if n in parameters and n in given and given[n] is None]
    # only the given arguments are replaced: defaults stay with the class
    given |= arguments.checked(path, parameters, {k: v for k, v in given.items() if k not in followed}, errors)
    if "name" in parameters and callback.arguments.get("name") is None:  # the name is then the key
        arguments.check_markers(parameters["name"], path.removeprefix("callbacks."), path, errors)
    for name, parameter in parameters.items():
        if parameter.required and name not in callback.arguments:
            what = f"not given; the callback needs it: {path}.{name}=…"
            errors.append(Problem(f"{path}.{name}", what, missing=True))
    return replace(callback, arguments=given)


def _parameters(path: str, target: str, errors: list[Problem]) -> Mapping[str, Parameter] | None:
    """Constructor arguments of the class; None and a problem if it is no callback."""
    try:
        parameters = constructor(target)
    except NotFoundError as missing:
        what = f"{target}: {missing.why}; is its package installed in this environment?"
        errors.append(Problem(f"{path}._target_", what))
        return None
    if parameters is None:
        errors.append(Problem(f"{path}._target_", f"{target} is not a perceptual callback, a subclass of {BASE}"))
    return parameters
