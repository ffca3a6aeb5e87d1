# SPDX-License-Identifier: Apache-2.0
"""Constructors of callback classes, read from source: nothing is imported, so that no slow or outside code runs.

A class is given as ``package.module.Class``. Its bases are followed through imports up to PerceptualCallback, and with
them the constructors' annotations (``**base`` leads to the next base).
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from clip_align.source_code import (
    NO_MODULE,
    Source,
    UnreadableError,
    derives,
    dotted,
    lineage,
    lookup,
    parsed,
    read_source,
)
from clip_align.structure import Distinct, Existing, Holds, Matches, Range

BASE = "clip_align.callbacks.base.PerceptualCallback"
PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Path": str, "None": type(None)}
Marker = Range | Holds | Existing | Matches | Distinct
MARKERS: dict[str, type[Marker]] = {kind.__name__: kind for kind in (Range, Holds, Existing, Matches, Distinct)}
LISTS = ("Sequence", "Iterable", "Collection", "list", "List", "set", "frozenset")
MAPPINGS = ("Mapping", "dict", "Dict")


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor: its type as far as it can be read (else Any), and whether it has a default.

    markers: the ``Range``, ``Holds``, … of an ``Annotated[…]``.
    """

    hint: Any
    required: bool
    markers: tuple[Marker, ...] = ()


class NotFoundError(Exception):
    """``why``: no such module, or no such class in it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def constructor(target: str, base: str = BASE) -> Mapping[str, Parameter] | None:
    """Arguments of a class's constructor and its bases'; None if it is no subclass of ``base``.

    NotFoundError if there is no such module or class.
    """
    found = _found_class(target)
    if not derives(*found, base):
        return None
    return _parameters(list(lineage(*found, base)))


def class_text(target: str, attribute: str) -> str | None:
    """The string literal that a class, or its nearest base, assigns to an attribute; None if it is no literal.

    NotFoundError if there is no such module or class.
    """
    for source, node in lineage(*_found_class(target), BASE):
        value = dict(_assignments(node.body)).get(attribute)
        if value is None:
            continue
        found = lookup(source, value.id) if isinstance(value, ast.Name) else None
        # family = HUMAN, where the constant may be imported
        text = found[1] if found is not None else value
        return text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else None
    return None


def assigns(target: str, attribute: str) -> bool:
    """Whether a class, or a base below PerceptualCallback, gives an attribute a value in its body.

    NotFoundError if there is no such module or class.
    """
    found = lineage(*_found_class(target), BASE)
    bodies = [node.body for source, node in found if f"{source.name}.{node.name}" != BASE]
    return any(name == attribute for body in bodies for name, _ in _assignments(body))


def _found_class(target: str) -> tuple[Source, ast.ClassDef]:
    module_name, _, class_name = target.rpartition(".")
    if not module_name:
        raise NotFoundError(NO_MODULE)
    try:
        source = read_source(module_name) or parsed(module_name)  # the former is cached, the latter knows the reason
    except UnreadableError as error:
        raise NotFoundError(str(error)) from None
    found = lookup(source, class_name)
    if found is None or not isinstance(found[1], ast.ClassDef):  # a name of something else
        raise NotFoundError(f"no class {class_name} in {module_name}")
    return found[0], found[1]


def _assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names with their values in assignments: ``a = x``, ``a: T = x``, and ``a, b = x, y`` pair by pair."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def hint_of(source: Source, node: ast.expr | None, depth: int = 0) -> Any:
    """An annotation as a type that ``structure.convert`` supports, else Any.

    Args:
        source: module of the annotation.
        node: the annotation, None: none.
        depth: of recursion, bounded against circular aliases.
    """
    if node is None or depth > 10:
        return Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted annotation
            try:
                return hint_of(source, ast.parse(node.value, mode="eval").body, depth + 1)
            except SyntaxError:
                return Any
        return type(None) if node.value is None else Any
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([hint_of(source, node.left, depth + 1), hint_of(source, node.right, depth + 1)])
    if isinstance(node, ast.Subscript):
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _generic(source, dotted(node.value).rpartition(".")[2], inner, depth)
    name = dotted(node)
    if name.rpartition(".")[2] in PLAIN:
        return PLAIN[name.rpartition(".")[2]]
    found = lookup(source, name) if name else None  # an alias: Number = int | float
    if found is None or isinstance(found[1], ast.ClassDef):
        return Any
    return hint_of(found[0], found[1], depth + 1)


def _parameters(line: Sequence[tuple[Source, ast.ClassDef]]) -> dict[str, Parameter]:
    """Arguments of the first constructor and, where it takes ``**base``, of the next ones."""
    found: dict[str, Parameter] = {}
    for source, node in line:
        inits = [s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"]
        if not inits:
            continue
        arguments = inits[-1].args  # the last of several definitions counts, as when Python runs them
        named = [*arguments.posonlyargs, *arguments.args][1:]  # without self
        optional = len(arguments.defaults)  # ast keeps defaults of the last arguments only
        for i, argument in enumerate(named):
            required = i < len(named) - optional
            found.setdefault(argument.arg, _parameter(source, argument, required))
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            found.setdefault(argument.arg, _parameter(source, argument, default is None))
        if arguments.kwarg is None:
            break
    return found


def _parameter(source: Source, argument: ast.arg, required: bool) -> Parameter:
    return Parameter(hint_of(source, argument.annotation), required, tuple(_markers(argument.annotation)))


def _markers(node: ast.expr | None) -> Iterator[Marker]:
    """The markers in ``Annotated[…]`` whose arguments are literals; others are ignored."""
    if not isinstance(node, ast.Subscript) or dotted(node.value).rpartition(".")[2] != "Annotated":
        return
    for marker in node.slice.elts[1:] if isinstance(node.slice, ast.Tuple) else ():
        kind = MARKERS.get(dotted(marker.func).rpartition(".")[2]) if isinstance(marker, ast.Call) else None
        if kind is None or not isinstance(marker, ast.Call):
            continue
        with contextlib.suppress(ValueError, TypeError):  # not literal, or not what the marker takes
            values = [ast.literal_eval(a) for a in marker.args]
            yield kind(*values, **{k.arg: ast.literal_eval(k.value) for k in marker.keywords if k.arg})


def _union(hints: list[Any]) -> Any:
    return Any if Any in hints else Union[tuple(hints)]  # noqa: UP007 - built at run time


def _generic(source: Source, name: str, inner: list[ast.expr], depth: int) -> Any:
    if name == "Literal":
        return Literal[tuple(n.value for n in inner if isinstance(n, ast.Constant))]
    if name in ("Annotated", "Final", "ClassVar"):
        return hint_of(source, inner[0], depth + 1)
    if name in MAPPINGS:
        return dict.__class_getitem__((str, hint_of(source, inner[-1], depth + 1)))
    hints = [hint_of(source, n, depth + 1) for n in inner if not (isinstance(n, ast.Constant) and n.value is Ellipsis)]
    if name == "Optional":
        return _union([hints[0], type(None)])
    if name == "Union":
        return _union(hints)
    if name in LISTS or (name in ("tuple", "Tuple") and len(hints) < len(inner)):
        return tuple.__class_getitem__((hints[0], ...))
    return tuple.__class_getitem__(tuple(hints)) if name in ("tuple", "Tuple") else Any
