# SPDX-License-Identifier: Apache-2.0
"""Perceptual callbacks as configured, against the constructors of their classes, without importing them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from clip_align.errors import Problem
from clip_align.runs.provenance import versions
from clip_align.settings import arguments
from clip_align.settings.signatures import BASE, NO_MODULE, NotFoundError, Parameter, constructor

if TYPE_CHECKING:
    from clip_align.config import CallbackConfig


def checked(callbacks: Mapping[str, CallbackConfig], errors: list[Problem]) -> dict[str, CallbackConfig]:
    """The callbacks with their arguments as the annotations ask: 1e2 is the whole number 100 for the callback too.

    ``errors`` grows by a line for every class that is not one, unknown key, wrong type, range, and doubled name.
    """
    found = {name: _checked(f"callbacks.{name}", callback, errors) for name, callback in callbacks.items()}
    by_name: dict[str, list[str]] = defaultdict(list)
    for name, callback in callbacks.items():
        by_name[str(callback.arguments.get("name") or name)].append(name)
    for name, keys in by_name.items():
        if len(keys) > 1:
            what = f"{' and '.join(keys)} are both named {name}; give one of them another name"
            errors.append(Problem("callbacks", what))
    return found


def takes(target: str, argument: str) -> bool:
    """Whether the constructor of a callback class, or of its bases, has this argument."""
    try:
        return argument in (constructor(target) or {})
    except NotFoundError:
        return False


def not_in_this_release(target: str) -> bool:
    """Whether a class of this package is announced, but its module is not there."""
    try:
        constructor(target)
    except NotFoundError as missing:
        return target.startswith("clip_align.") and missing.why == NO_MODULE
    return False


def _checked(path: str, callback: CallbackConfig, errors: list[Problem]) -> CallbackConfig:
    parameters = _parameters(path, callback.target, errors)
    if parameters is None:
        return callback
    given = dict(callback.arguments)
    followed = [n for n in ("every_n_steps",) if n in parameters and n in given and given[n] is None]
    given |= arguments.checked(path, parameters, {k: v for k, v in given.items() if k not in followed}, errors)
    if "name" in parameters and callback.arguments.get("name") is None:  # then it is the key
        arguments.check_markers(parameters["name"], path.removeprefix("callbacks."), path, errors)
    for name, parameter in parameters.items():
        if parameter.required and name not in callback.arguments:
            what = f"not given; the callback needs it: {path}.{name}=…"
            errors.append(Problem(f"{path}.{name}", what, missing=True))
    return replace(callback, arguments=given)


def _parameters(path: str, target: str, errors: list[Problem]) -> Mapping[str, Parameter] | None:
    """Arguments of the class that ``path`` names, None and a line where it is no callback."""
    try:
        parameters = constructor(target)
    except NotFoundError as missing:
        if not_in_this_release(target):
            release = versions()["clip-align"] or "this version"
            off = f"leave it out: ~callbacks.{path.removeprefix('callbacks.')}"
            errors.append(Problem(path, f"its loader is not part of clip-align {release} yet; {off}", missing=True))
        else:
            what = f"{target}: {missing.why}; is its package installed in this environment?"
            errors.append(Problem(f"{path}._target_", what))
        return None
    if parameters is None:
        errors.append(Problem(f"{path}._target_", f"{target} is not a perceptual callback, a subclass of {BASE}"))
    return parameters
