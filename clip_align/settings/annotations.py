# SPDX-License-Identifier: Apache-2.0
"""Constructors of imported classes, read from their annotations; the counterpart of `signatures`.

Both yield the same `Parameter` for a constructor, so that arguments in a config and in Python are checked by the same
rules, with the same error messages.
"""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np

from clip_align.errors import Problem
from clip_align.settings.arguments import check_markers
from clip_align.settings.signatures import Marker, Parameter
from clip_align.structure import INVALID, convert

# paths are typed as text in a configuration
SCALARS: dict[Any, Any] = {int: int, float: float, str: str, bool: bool, Path: str, type(None): type(None)}
SEQUENCES = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, list, set, frozenset)
MAPPINGS = (collections.abc.Mapping, dict)


def parameters_of(cls: type, base: type) -> Mapping[str, Parameter]:
    """Arguments of a class's constructor and, where it takes ``**base``, of the next base's, up to ``base``."""
    found: dict[str, Parameter] = {}
    for _, init, arguments in _constructors(cls, base):
        hints: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # a name that exists for type checkers only: not checked
            hints = typing.get_type_hints(init, include_extras=True)
        for argument in arguments:
            hint = hints.get(argument.name, Any)
            required = argument.default is argument.empty
            # the class nearest to cls wins, as Python has it
            found.setdefault(argument.name, Parameter(_plain_hint(hint), required, tuple(_markers(hint))))
    return found


def defaults_of(cls: type, base: type) -> Mapping[str, Any]:
    """Defaults of the arguments of `parameters_of`, without those of ``base`` itself."""
    found: dict[str, Any] = {}
    named: set[str] = set()  # an argument that is required here may have a default further up
    for owner, _, arguments in _constructors(cls, base):
        if owner is base:
            break
        found |= {a.name: a.default for a in arguments if a.name not in named and a.default is not a.empty}
        named |= {a.name for a in arguments}
    return found


def _constructors(cls: type, base: type) -> Iterator[tuple[type, Callable[..., None], list[inspect.Parameter]]]:
    """Each class with its constructor and its named arguments, up to ``base`` or a constructor without ``**base``."""
    for owner in cls.__mro__:
        init = owner.__dict__.get("__init__")  # its own: getattr would find an inherited one again
        if init is None:
            continue
        signature = list(inspect.signature(init).parameters.values())[1:]  # without self
        yield owner, init, [a for a in signature if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
        if owner is base or not any(argument.kind is argument.VAR_KEYWORD for argument in signature):
            return


def checked(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[Problem]]:
    """The arguments converted to their annotated types (4.0 to the integer 4), and a problem for each invalid one.

    Args:
        parameters: of the constructor, by name; other arguments are not checked.
        given: the arguments by name.
        where: start of error messages, before the argument's name.
    """
    errors: list[Problem] = []
    taken = dict(given)
    for name, value in given.items():
        if name not in parameters:  # unknown names are refused by the constructor itself
            continue
        before, path = len(errors), f"{where}.{name}"  # before: to see whether this value was the invalid one
        converted = convert(parameters[name].hint, as_typed(value), path, errors)
        if len(errors) == before:
            check_markers(parameters[name], converted, path, errors)
        # only numbers are converted, and one value to a list of it; any other object is passed on as it is
        one = isinstance(value, str) and isinstance(converted, tuple)
        if (one or isinstance(value, int | float | np.number)) and converted is not INVALID:
            taken[name] = converted
    return taken, errors


def _plain_hint(hint: Any) -> Any:
    """An annotation as a type that ``structure.convert`` supports, else Any."""
    if isinstance(hint, type) and hint in SCALARS:  # in itself would fail for a hint that cannot be hashed
        return SCALARS[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _plain_hint(inner[0])
    if origin is Literal:
        return hint
    if origin in (Union, types.UnionType):
        kinds = tuple(_plain_hint(h) for h in inner)
        # a member that cannot be checked may be what the value is
        return Any if Any in kinds else Union[kinds]  # noqa: UP007 - built at run time
    if origin in MAPPINGS:
        return dict.__class_getitem__((str, _plain_hint(inner[-1])))  # keys of yaml are text
    if origin in SEQUENCES or (origin is tuple and inner[-1:] == (Ellipsis,)):
        return tuple.__class_getitem__((_plain_hint(inner[0]), ...))
    return tuple.__class_getitem__(tuple(map(_plain_hint, inner))) if origin is tuple else Any


def _markers(hint: Any) -> Iterator[Marker]:
    if typing.get_origin(hint) is typing.Annotated:
        found: tuple[Any, ...] = typing.get_args(hint)[1:]
        yield from (marker for marker in found if isinstance(marker, Marker))


def as_typed(value: Any) -> Any:
    """A Python value in the form of a config: paths as text, arrays and sets as lists, NumPy scalars as numbers."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [as_typed(v) for v in value]
    return {k: as_typed(v) for k, v in value.items()} if isinstance(value, Mapping) else value
