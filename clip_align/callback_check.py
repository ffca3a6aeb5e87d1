# SPDX-License-Identifier: Apache-2.0
"""Perceptual callbacks as configured, against the constructors of their classes, without importing them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.run_folder import versions
from clip_align.signatures import BASE, NO_MODULE, NotFoundError, constructor
from clip_align.structure import Range, check_range, convert, unknown_key

if TYPE_CHECKING:
    from clip_align.config import CallbackConfig


def problems(callbacks: Mapping[str, CallbackConfig]) -> list[str]:
    """A line for every class that is not one, unknown key, wrong type, range, and doubled name."""
    errors = [line for name, callback in callbacks.items() for line in _problems(f"callbacks.{name}", callback)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for name, callback in callbacks.items():
        by_name[str(callback.arguments.get("name") or name)].append(name)
    for name, keys in by_name.items():
        if len(keys) > 1:
            errors.append(f"callbacks: {' and '.join(keys)} are both named {name}; give one of them another name")
    return errors


def takes(target: str, argument: str) -> bool:
    """Whether the constructor of a callback class, or of its bases, has this argument."""
    try:
        return argument in (constructor(target) or {})
    except NotFoundError:
        return False


def _problems(path: str, callback: CallbackConfig) -> list[str]:
    target = callback.target
    try:
        parameters = constructor(target)
    except NotFoundError as missing:
        if target.startswith("clip_align.") and missing.why == NO_MODULE:
            release = versions()["clip-align"] or "this version"
            name = path.removeprefix("callbacks.")
            return [f"{path}: its loader is not part of clip-align {release} yet; leave it out: ~callbacks.{name}"]
        return [f"{path}._target_: {target}: {missing.why}; is its package installed in this environment?"]
    if parameters is None:
        return [f"{path}._target_: {target} is not a perceptual callback, a subclass of {BASE}"]
    errors: list[str] = []
    for name, value in callback.arguments.items():
        where = f"{path}.{name}"
        if name not in parameters:
            errors.append(unknown_key(where, [f"{path}.{known}" for known in parameters]))
            continue
        before = len(errors)
        convert(parameters[name].hint, value, where, errors)
        for marker in parameters[name].markers if len(errors) == before else ():
            if isinstance(marker, Range):
                check_range(value, marker, where, errors)
            elif isinstance(value, str) and not (Path(value).expanduser() / marker.file).is_file():
                errors.append(f"{where}: no {marker.file} in {value}; give the folder that holds it, or null")
    for name, parameter in parameters.items():
        if parameter.required and name not in callback.arguments:
            errors.append(f"{path}.{name}: not given; the callback needs it: {path}.{name}=…")
    return errors
