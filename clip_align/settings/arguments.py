# SPDX-License-Identifier: Apache-2.0
"""Check values against an annotated constructor, which is read but not imported."""

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
    """The arguments converted to their annotated types, in the form of yaml files and checkpoints.

    Args:
        path: key of the section, for error messages.
        parameters: of the constructor.
        given: values by name.
        errors: receives a problem for each unknown name, wrong type and value out of range.
    """
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{path}.{name}"
        if name not in parameters:
            errors.append(unknown_key(where, [f"{path}.{known}" for known in parameters]))
            continue
        before = len(errors)
        converted = convert(parameters[name].hint, value, where, errors)
        if len(errors) == before:  # a range says nothing about a value of another type
            check_markers(parameters[name], converted, where, errors)
        arguments[name] = value if converted is INVALID else plain(converted)
    return arguments


def check_markers(parameter: Parameter, value: object, where: str, errors: list[Problem]) -> None:
    """Check the markers of an annotation, such as `Range`.

    Args:
        parameter: with the markers.
        value: of the right type.
        where: key, for error messages.
        errors: receives a problem for each violated marker.
    """
    for marker in parameter.markers:
        if isinstance(marker, Range):
            check_range(value, marker, where, errors)
        elif problem := marker.problem(value, where):
            errors.append(problem)
