# SPDX-License-Identifier: Apache-2.0
"""Convert plain values to frozen dataclasses and back, collecting every error with its key."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from clip_align.errors import Problem
from clip_align.spelling import nearest, unknown_key

T = TypeVar("T")
INVALID = object()  # in place of an invalid value; the reason is in the list of errors
NUMBER = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
SPECIAL: dict[Any, Callable[[Any, str, list[Problem]], Any]] = {}  # classes with a special reader


@dataclasses.dataclass(frozen=True)
class Range:
    """Limits of numbers: ``low`` and ``high`` are inclusive, ``above`` and ``below`` exclusive.

    ``multiple``: they are whole multiples of it. In an annotation, ``Annotated[int, Range(low=1)]``, a callback's
    argument is checked before anything is imported; limits are then written as numbers.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    multiple: float | None = None


@dataclasses.dataclass(frozen=True)
class Holds:
    """In an annotation: a folder that contains this file. ``or_null``: the message offers null too."""

    file: str
    or_null: bool = False

    def problem(self, value: object, path: str) -> Problem | None:
        """What is wrong with a value that is not so."""
        if not isinstance(value, str) or (Path(value).expanduser() / self.file).is_file():
            return None
        valid = "the folder that holds it, or null" if self.or_null else "the folder that holds it"
        return Problem(path, f"no {self.file} in {value}; give {valid}", missing=True)


@dataclasses.dataclass(frozen=True)
class Existing:
    """In an annotation: the path of an existing file or folder."""

    kind: Literal["file", "folder"]

    def problem(self, value: object, path: str) -> Problem | None:
        """What is wrong with a value that is not so."""
        if not isinstance(value, str):
            return None
        place = Path(value).expanduser()
        if value and (place.is_file() if self.kind == "file" else place.is_dir()):
            return None
        return Problem(path, f"no such {self.kind}: {shown(value)}; type {path}=/path/of/the/{self.kind}", missing=True)


@dataclasses.dataclass(frozen=True)
class Matches:
    """In an annotation: a text that matches a pattern fully; ``words`` describes it."""

    pattern: str
    words: str

    def problem(self, value: object, path: str) -> Problem | None:
        """What is wrong with a value that is not so."""
        if not isinstance(value, str) or re.fullmatch(self.pattern, value):
            return None
        return Problem(path, f"{shown(value)} is not of the right form: {self.words}")


@dataclasses.dataclass(frozen=True)
class Distinct:
    """In an annotation: a non-empty list without repeated values."""

    def problem(self, value: object, path: str) -> Problem | None:
        """What is wrong with a value that is not so."""
        if not isinstance(value, (list, tuple)):
            return None
        if not value:
            return Problem(path, "[] is empty; give at least one value")
        twice = next((v for i, v in enumerate(value) if v in value[:i]), None)  # not a set: values may be lists
        return None if twice is None else Problem(path, f"{shown(twice)} is there twice; give each value once")


def key(
    default: T,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> T:
    """A dataclass field with a default and a `Range`.

    Args:
        default: of the field.
        low, high: inclusive limits; None: no limit.
        above, below: exclusive limits.
    """
    return dataclasses.field(default=default, metadata={"range": Range(low, high, above, below)})


def build(cls: type[T], plain: object, path: str, errors: list[Problem]) -> T | None:
    """A ``cls`` from a mapping; invalid values are replaced by defaults, so that the rest can be checked too.

    Args:
        plain: values by field.
        path: key of the section, for error messages.
        errors: receives a problem for each invalid value; to be tested before the result is used.

    Returns:
        None if a field without a default is missing.
    """
    if not isinstance(plain, Mapping):
        errors.append(Problem(path or "config", f"{shown(plain)} is not a group of keys"))
        return None
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, given in plain.items():
        where = join(path, str(name))
        if name not in fields:
            errors.append(unknown_key(where, [join(path, f) for f in fields]))
            continue
        before = len(errors)
        value = convert(hints[str(name)], given, where, errors)
        if "range" in fields[str(name)].metadata:
            check_range(value, fields[str(name)].metadata["range"], where, errors)
        # a section with a wrong value in it stays, with the default there, so that the rest of it is checked
        if len(errors) == before or dataclasses.is_dataclass(value) or isinstance(value, dict):
            values[str(name)] = value
    missing = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    for name in missing:
        if name not in plain:
            errors.append(Problem(join(path, name), "not given", missing=True))
    return cls(**values) if set(missing) <= set(values) else None  # missing here: without a default


def convert(hint: Any, value: object, path: str, errors: list[Problem]) -> Any:
    """``value`` converted to the annotated type, or INVALID and a problem in ``errors``.

    Args:
        hint: the type.
        value: a plain value.
        path: key, for error messages.
        errors: receives the problem.

    Integers are accepted as floats, integral floats (1e6) as integers, numbers as texts; of a type that is also that
    of a list's elements, ``int | Sequence[int]``, one value becomes a list of it. Nothing else is converted.
    """
    if value == "???":  # how yaml files mark a key that has to be given
        errors.append(Problem(path, f"not given; this key has no default: {path}=…", missing=True))
        return INVALID
    if hint in SPECIAL:
        return SPECIAL[hint](value, path, errors)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, path, errors)
    if origin is typing.Literal:
        return _literal(arguments, value, path, errors)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Iterable) and len(arguments) == 1):
        return _sequence(arguments, value, path, errors)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments, value, path, errors)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, path, errors)
    return _scalar(hint, value, path, errors)


def check_range(value: object, limits: Range, path: str, errors: list[Problem]) -> None:
    """Check the range of a number or of each number in a list; other values are ignored.

    Args:
        value: to check.
        limits: the range.
        path: key, for error messages.
        errors: receives a problem for each number out of range.
    """
    for number in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):  # True is an int to Python
            continue
        factor = number / limits.multiple if limits.multiple is not None else 0.0
        if (
            (limits.low is not None and number < limits.low)
            or (limits.high is not None and number > limits.high)
            or (limits.above is not None and number <= limits.above)
            or (limits.below is not None and number >= limits.below)
            or not math.isclose(factor, round(factor), abs_tol=1e-9)  # 0.3 / 0.1 is 2.9999999999999996
        ):
            errors.append(Problem(path, f"{number} is out of range; {_range(limits)}"))


def plain(value: object) -> Any:
    """Dataclasses as dicts, tuples as lists: what yaml and ``torch.load(weights_only=True)`` take.

    A class with another plain form than its fields has a method ``to_plain``.
    """
    if hasattr(value, "to_plain"):  # before fields: such a class has both
        return plain(value.to_plain())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # fields that are derived come again when it is built
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def shown(value: object) -> str:
    """A value in typed form, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def plural(number: int, what: str) -> str:
    """A number with a noun: 1 value, 2 values."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def join(path: str, name: str) -> str:
    """``path.name``, or ``name`` at the top."""
    return f"{path}.{name}" if path else name


def flat(value: object, path: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings, leaves and groups alike, in order."""
    keys: dict[str, Any] = {}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            keys[join(path, str(name))] = inner
            keys.update(flat(inner, join(path, str(name))))  # leaves give nothing
    return keys


def _scalar(hint: Any, value: object, path: str, errors: list[Problem], alternative: str = "") -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if not isinstance(value, bool) and value is not None:
        if hint in (int, float) and isinstance(value, float) and not math.isfinite(value):
            errors.append(Problem(path, f"{value} is not a finite number{alternative}"))
            return INVALID
        # 1e6 is a float to yaml
        if hint is int and isinstance(value, (int, float)) and value == int(value):
            return int(value)
        if hint is float and isinstance(value, (int, float)):
            return float(value)
        if hint is str and isinstance(value, (str, int, float)):
            return str(value)
    if hint not in NUMBER:  # an unsupported annotation: the class itself checks it
        return value
    errors.append(Problem(path, f"{shown(value)} is not {NUMBER[hint]}{alternative}"))
    return INVALID


def _union(hints: tuple[Any, ...], value: object, path: str, errors: list[Problem]) -> Any:
    if value is None and type(None) in hints:
        return None
    rest = [h for h in hints if h is not type(None)]
    if len(rest) == 1:
        if rest[0] in NUMBER:
            return _scalar(rest[0], value, path, errors, " or null" if type(None) in hints else "")
        return convert(rest[0], value, path, errors)
    alone, lists = [h for h in rest if typing.get_origin(h) is not tuple], [h for h in rest if _is_list(h)]
    if lists and isinstance(value, (list, tuple)):
        return convert(lists[0], value, path, errors)  # whose problems name the element
    if lists and set(alone) == set(_alternatives(typing.get_args(lists[0])[0])):
        one = convert(typing.Union[tuple(alone)], value, path, errors)  # noqa: UP007 - built at run time
        return one if one is INVALID else (one,)
    for hint in rest:
        attempt: list[Problem] = []  # of this member alone: another may fit
        result = convert(hint, value, path, attempt)
        if not attempt:
            return result
    names = " or ".join(_named(h) for h in rest)
    errors.append(Problem(path, f"{shown(value)} is not {names}"))
    return INVALID


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (Ellipsis,)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; otherwise the type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _named(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    return NUMBER.get(hint, getattr(hint, "__name__", str(hint)))


def _literal(choices: tuple[Any, ...], value: object, path: str, errors: list[Problem]) -> Any:
    for choice in choices:
        # precision=32 is typed as a number; true is not the text 'True'
        if choice == value or (isinstance(choice, str) and not isinstance(value, bool) and choice == str(value)):
            return choice
    guess = nearest(str(value), [str(c) for c in choices])
    hint = f"; did you mean {guess}?" if guess else ""
    errors.append(Problem(path, f"{shown(value)} is not one of {', '.join(map(str, choices))}{hint}"))
    return INVALID


def _sequence(arguments: tuple[Any, ...], value: object, path: str, errors: list[Problem]) -> Any:
    if not isinstance(value, (list, tuple)):
        errors.append(Problem(path, f"{shown(value)} is not a list: {path}=[…]"))
        return INVALID
    if (len(arguments) == 2 and arguments[1] is Ellipsis) or len(arguments) == 1:
        # of any length: tuple[int, ...] or Sequence[int]
        hints: list[Any] = [arguments[0]] * len(value)
    else:
        hints = list(arguments)  # tuple[float, float]: as many as there are types
    if len(hints) != len(value):
        form = f"{path}=[{','.join('…' * len(hints))}]"
        errors.append(Problem(path, f"{plural(len(value), 'value')} given, {len(hints)} needed: {form}"))
        return INVALID
    return tuple(convert(h, v, f"{path}[{i}]", errors) for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _mapping(arguments: tuple[Any, ...], value: object, path: str, errors: list[Problem]) -> Any:
    if not isinstance(value, Mapping):
        errors.append(Problem(path, f"{shown(value)} is not a group of keys"))
        return INVALID
    hint = arguments[1] if len(arguments) == 2 else Any
    converted = {str(k): convert(hint, v, join(path, str(k)), errors) for k, v in value.items()}
    return {k: v for k, v in converted.items() if v is not INVALID}  # these have their problems already


def _range(limits: Range) -> str:
    texts = {"at least": limits.low, "above": limits.above, "at most": limits.high, "below": limits.below}
    words = [f"{text} {limit}" for text, limit in texts.items() if limit is not None]
    words += [f"a multiple of {limits.multiple}"] if limits.multiple is not None else []
    return "it must be " + " and ".join(words)
