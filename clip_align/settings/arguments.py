# SPDX-License-Identifier: Apache-2.0
"""Values against the annotated constructor that will take them, which is read but not imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clip_align.errors import Problem
from clip_align.settings.signatures import Parameter
from clip_align.spelling import unknown_key
from clip_align.structure import INVALID, Range, check_range, convert, plain


def checked(
    path: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any], errors: list[Problem]
) -> dict[str, Any]:
    """The arguments as their annotations ask, in the form that yaml files and checkpoints take.

    Args:
        path: key that they are under, for messages.
        parameters: of the constructor.
        given: values by name.
        errors: grows by a problem for each unknown name, wrong type, value out of range, and missing argument.
    """
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name in parameters:
            arguments[name] = _argument(parameters[name], value, f"{path}.{name}", errors)
        else:
            errors.append(unknown_key(f"{path}.{name}", [f"{path}.{known}" for known in parameters]))
    return arguments


def check_markers(parameter: Parameter, value: object, where: str, errors: list[Problem]) -> None:
    """A problem for each limit behind the type, such as `Range`, that a value is outside of."""
    for marker in parameter.markers:
        if isinstance(marker, Range):
            check_range(value, marker, where, errors)
        elif problem := marker.problem(value, where):
            errors.append(problem)


def _argument(parameter: Parameter, value: object, where: str, errors: list[Problem]) -> Any:
    before = len(errors)
    converted = convert(parameter.hint, value, where, errors)
    if len(errors) == before:
        check_markers(parameter, converted, where, errors)
    return value if converted is INVALID else plain(converted)
