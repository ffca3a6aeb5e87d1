# SPDX-License-Identifier: Apache-2.0
"""Conditions on a sample's json, as ``data.where`` has them: ``similarity > 0.28 and min(width, height) >= 200``.

The text is parsed by Python's own parser, and every node of the result is checked against a list; what is not on it is
an error. Nothing is ever evaluated as Python. A field is a name, or ``field('…')`` where its name is no word. Numbers
are compared with numbers, texts with texts, true and false with each other.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clip_align.data.captions import MOST_TEXT_BYTES

MOST_CHARACTERS = 4096  # of a condition: deeper nesting than a person writes would exhaust the parser
NOT_MET = "that do not meet it"  # causes, as they follow a number of samples
NO_JSON, BAD_JSON = "without a json", "with a json that cannot be read"

_Value = Callable[[Mapping[str, Any]], Any]  # from a sample's fields to the value of a part of the condition

_ORDER: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUAL: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_ARITHMETIC: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS: Mapping[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_CONSTANTS = {"true": True, "false": False}  # as json writes them; Python's own are constants to its parser
_FUNCTIONS = ("abs", "min", "max", "len", "lower", "field")
VALID = (
    "a condition compares fields of the json with numbers, texts or each other (< <= > >= == !=, in, not in, + - * /, "
    f"{', '.join(_FUNCTIONS)}) and joins with and, or, not: similarity > 0.28 and language == 'en'"
)


class ConditionError(ValueError):
    """A text that is no condition; the message says what is wrong with it."""


class NotSelectedError(Exception):
    """A sample does not meet the condition; cause: follows a number of samples."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition that was read. fields: the fields that it names, each once, in order."""

    fields: tuple[str, ...]
    _value: _Value = field(repr=False)

    def check(self, facts: Mapping[str, Any]) -> None:
        """NotSelectedError where the condition does not hold, or where a field that it names is absent or null.

        ``facts``: the sample's json.
        """
        for name in self.fields:
            if facts.get(name) is None:
                raise NotSelectedError(f"without {name}")
        try:
            holds = _truth(self._value(facts))
        except (ZeroDivisionError, OverflowError):
            raise NotSelectedError("for which it cannot be computed") from None
        if not holds:
            raise NotSelectedError(NOT_MET)


def condition(text: str) -> Condition:
    """Read a condition; ConditionError where it is none."""
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(f"{len(text):,} characters, at most {MOST_CHARACTERS:,} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        at = f" at character {error.offset}" if error.offset else ""
        raise ConditionError(f"cannot be read{at}{_hint(text)}") from None
    except (ValueError, RecursionError, MemoryError):  # a NUL, a number of thousands of digits, deep nesting
        raise ConditionError("cannot be read") from None
    names: dict[str, None] = {}
    value = _Reader(names).read(tree.body)
    if not names:
        raise ConditionError("names no field")
    if not _may_be_true(tree.body):
        raise ConditionError("is a value, and compares it with nothing")
    return Condition(tuple(names), value)


def facts_of(raw: bytes) -> dict[str, Any]:
    """The fields of a sample's json; NotSelectedError where it cannot be read."""
    if len(raw) > MOST_TEXT_BYTES:
        raise NotSelectedError(BAD_JSON)
    try:
        facts = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise NotSelectedError(BAD_JSON) from None
    if not isinstance(facts, dict):
        raise NotSelectedError(BAD_JSON)
    return facts


class _Reader:
    """Turns nodes of a parsed text into functions. ``names``: receives the fields."""

    def __init__(self, names: dict[str, None]) -> None:
        self._names = names

    def read(self, node: ast.expr) -> _Value:
        match node:
            case ast.BoolOp(op=op, values=parts):
                return _joined(any if isinstance(op, ast.Or) else all, [self.read(part) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                inner = self.read(part)
                return lambda facts: not _truth(inner(facts))
            case ast.UnaryOp(op=op, operand=part) if type(op) in _SIGNS:
                sign, inner = _SIGNS[type(op)], self.read(part)
                return lambda facts: sign(_number(inner(facts)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                apply, one, two = _ARITHMETIC[type(op)], self.read(left), self.read(right)
                return lambda facts: apply(_number(one(facts)), _number(two(facts)))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compared(node, [left, *others], ops)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return self._called(node, name, args)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                values = [self.read(part) for part in parts]
                return lambda facts: [value(facts) for value in values]
            case ast.Name(id="null") | ast.Constant(value=None):
                raise ConditionError("null is not read: a sample whose field is null or absent is left out in any case")
            case ast.Name(id=name):
                return self._constant(_CONSTANTS[name]) if name in _CONSTANTS else self._field(name)
            case ast.Constant(value=value) if isinstance(value, (bool, int, float, str)):
                return self._constant(value)
        hint = (
            "; join with and, or" if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr) else ""
        )
        raise ConditionError(f"{_shown(node)} is not read{hint}")

    def _constant(self, value: object) -> _Value:
        return lambda facts: value

    def _field(self, name: str) -> _Value:
        self._names[name] = None
        return lambda facts: facts[name]

    def _compared(self, node: ast.Compare, parts: list[ast.expr], ops: list[ast.cmpop]) -> _Value:
        tests: list[Callable[[Any, Any], bool]] = []
        for op in ops:
            if type(op) in _ORDER:
                tests.append(_ordered(_ORDER[type(op)]))
            elif type(op) in _EQUAL:
                tests.append(_equal(_EQUAL[type(op)]))
            elif isinstance(op, ast.In | ast.NotIn):
                tests.append(_contained(isinstance(op, ast.In)))
            else:
                raise ConditionError(f"{_shown(node)}: 'is' is not read; compare with ==")
        values = [self.read(part) for part in parts]

        def holds(facts: Mapping[str, Any]) -> bool:
            found = [value(facts) for value in values]
            return all(test(one, two) for test, one, two in zip(tests, found, found[1:], strict=False))

        return holds

    def _called(self, node: ast.Call, name: str, args: list[ast.expr]) -> _Value:
        if name == "field":
            if len(args) == 1 and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):
                return self._field(args[0].value)
            raise ConditionError(f"{_shown(node)}: give the name of a field in quotes")
        if not args or (name in ("abs", "len", "lower") and len(args) > 1):
            raise ConditionError(f"{_shown(node)}: {name} takes {'values' if name in ('min', 'max') else 'one value'}")
        values = [self.read(arg) for arg in args]
        if name in ("min", "max"):
            choose = min if name == "min" else max
            return lambda facts: choose(_number(value(facts)) for value in values)
        (value,) = values
        if name == "abs":
            return lambda facts: abs(_number(value(facts)))
        if name == "lower":
            return lambda facts: _text(value(facts)).lower()
        return lambda facts: _length(value(facts))


def _joined(join: Callable[[Any], bool], parts: list[_Value]) -> _Value:
    return lambda facts: join(_truth(part(facts)) for part in parts)  # from left to right, as far as needed


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(one: Any, two: Any) -> bool:
        _alike(one, two)
        if isinstance(one, bool) or not isinstance(one, (int, float, str)):
            raise NotSelectedError(f"where {_kind(one)} has no order")
        return test(one, two)

    return holds


def _equal(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(one: Any, two: Any) -> bool:
        _alike(one, two)
        return test(one, two)

    return holds


def _contained(wanted: bool) -> Callable[[Any, Any], bool]:
    def holds(one: Any, two: Any) -> bool:
        if isinstance(two, str):
            return (_text(one) in two) is wanted
        if not isinstance(two, list):
            raise NotSelectedError(f"where {_kind(two)} contains nothing")
        # type by type: 1 == True to Python
        return any(_kind(one) == _kind(each) and one == each for each in two) is wanted

    return holds


def _alike(one: object, two: object) -> None:
    if _kind(one) != _kind(two):
        raise NotSelectedError(f"where {' and '.join(sorted((_kind(one), _kind(two))))} are compared")


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise NotSelectedError(f"where {_kind(value)} is in place of true or false")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotSelectedError(f"where {_kind(value)} is in place of a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NotSelectedError(f"where {_kind(value)} is in place of a text")
    return value


def _length(value: object) -> int:
    if not isinstance(value, (str, list)):
        raise NotSelectedError(f"where {_kind(value)} has no length")
    return len(value)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _may_be_true(node: ast.expr) -> bool:
    """Whether a part can be true or false: a comparison, some of them joined, or a field that may hold either."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "field"
    return isinstance(node, ast.BoolOp | ast.Compare | ast.Name) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _hint(text: str) -> str:
    if any(sign in text for sign in ("&", "|")):
        return "; join with and, or"
    if "=" in text and not any(sign in text for sign in ("==", "<=", ">=", "!=")):
        return "; compare with =="
    return ""
