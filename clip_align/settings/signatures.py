# SPDX-License-Identifier: Apache-2.0
"""Constructors of callback classes, read from their source: nothing is imported, so nothing slow or foreign runs.

A class is found as ``package.module.Class``; its bases are followed through imports and names up to
PerceptualCallback, and so are the annotations of the constructors on the way (``**base`` leads to the next one).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.machinery
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from clip_align.structure import Distinct, Existing, Holds, Matches, Range, check_range

NO_MODULE = "no such module"
BASE = "clip_align.callbacks.base.PerceptualCallback"
PLAIN: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Path": str, "None": type(None)}
Marker = Range | Holds | Existing | Matches | Distinct
MARKERS: dict[str, type[Marker]] = {kind.__name__: kind for kind in (Range, Holds, Existing, Matches, Distinct)}
LISTS = ("Sequence", "Iterable", "Collection", "list", "List", "set", "frozenset")
MAPPINGS = ("Mapping", "dict", "Dict")


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor: its type as far as it can be told (else Any), and whether it has a default.

    markers: the ``Range``, ``Holds``, … of an ``Annotated[…]``.
    """

    hint: Any
    required: bool
    markers: tuple[Marker, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """A module's source, by its dotted name."""

    name: str
    tree: ast.Module
    is_package: bool


class NotFoundError(Exception):
    """``why``: no such module, or no such class in it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def constructor(target: str) -> Mapping[str, Parameter] | None:
    """Arguments of a callback class and of its bases; None when it is no subclass of PerceptualCallback.

    NotFoundError when there is no such module or class.
    """
    line = list(_lineage(*_found_class(target), seen=set()))
    if not any(f"{place.name}.{node.name}" == BASE for place, node in line):
        return None
    return _parameters(line)


def class_text(target: str, attribute: str) -> str | None:
    """The text that a class, or the nearest of its bases, assigns to an attribute; None where it is no plain text.

    NotFoundError when there is no such module or class.
    """
    for source, node in _lineage(*_found_class(target), seen=set()):
        value = dict(_assignments(node.body)).get(attribute)
        if value is None:
            continue
        found = lookup(source, value.id) if isinstance(value, ast.Name) else None
        text = found[1] if found is not None else value
        return text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else None
    return None


def check_markers(parameter: Parameter, value: object, where: str, errors: list[str]) -> None:
    """``errors`` grows by a line for each limit in the parameter's ``Annotated[…]`` that the value breaks."""
    for marker in parameter.markers:
        if isinstance(marker, Range):
            check_range(value, marker, where, errors)
        elif line := marker.problem(value, where):
            errors.append(line)


@functools.cache
def read_source(name: str) -> Source | None:
    """The module ``name``, parsed; None where it has no readable source."""
    try:
        return parsed(name)
    except NotFoundError:
        return None


def parsed(name: str) -> Source:
    """The module ``name``, parsed; NotFoundError where there is none, and with file and line where it is no Python."""
    path = _locate(name)
    if path is None:
        raise NotFoundError(NO_MODULE)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise NotFoundError(f"its module is no valid Python: {error.msg} ({path}, line {error.lineno})") from None
    except (OSError, ValueError) as error:  # a file that may not be read, bytes that are no UTF-8, a null byte
        raise NotFoundError(f"its module cannot be read: {error} ({path})") from None
    return Source(name, tree, path.name == "__init__.py")


def _found_class(target: str) -> tuple[Source, ast.ClassDef]:
    module_name, _, class_name = target.rpartition(".")
    if not module_name:
        raise NotFoundError(NO_MODULE)
    found = lookup(read_source(module_name) or parsed(module_name), class_name)  # the latter says what is wrong
    if found is None or not isinstance(found[1], ast.ClassDef):
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


def lookup(source: Source, name: str, depth: int = 0) -> tuple[Source, ast.ClassDef | ast.expr] | None:
    """What ``name`` (dots allowed) means at the top of a module: a class or an expression, imports followed."""
    if depth > 10:  # a circle of imports
        return None
    head, _, rest = name.partition(".")
    for node in _statements(source.tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return source, node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return source, node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return (source, node.value) if node.value is not None else None
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for full in _imported(source, node, head):
                found = _follow(f"{full}.{rest}" if rest else full, depth)
                if found is not None:
                    return found
    return None


def hint_of(source: Source, node: ast.expr | None, depth: int = 0) -> Any:
    """An annotation as a type that ``structure.convert`` understands; Any where it is something else."""
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
        return _generic(source, _dotted(node.value).rpartition(".")[2], inner, depth)
    name = _dotted(node)
    if name.rpartition(".")[2] in PLAIN:
        return PLAIN[name.rpartition(".")[2]]
    found = lookup(source, name) if name else None
    if found is None or isinstance(found[1], ast.ClassDef):
        return Any
    return hint_of(found[0], found[1], depth + 1)


def _locate(name: str) -> Path | None:
    """Source file of a module, without importing its parents."""
    first, *others = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for i in range(len(others)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        where = list(spec.submodule_search_locations)
        spec = importlib.machinery.PathFinder.find_spec(".".join([first, *others[: i + 1]]), where)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, those under ``if`` (TYPE_CHECKING) and ``try`` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _statements([*node.body, *(s for h in node.handlers for s in h.body), *node.orelse])


def _imported(source: Source, node: ast.Import | ast.ImportFrom, head: str) -> Iterator[str]:
    """Full dotted names that an import statement binds to ``head``."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            if alias.asname == head:
                yield alias.name
            elif alias.asname is None and alias.name.partition(".")[0] == head:
                yield head
        elif (alias.asname or alias.name) == head:
            parents = source.name.split(".")
            upwards = node.level - 1 if source.is_package else node.level
            start = parents[: len(parents) - upwards] if node.level else []
            yield ".".join([*start, *([node.module] if node.module else []), alias.name])


def _follow(full: str, depth: int) -> tuple[Source, ast.ClassDef | ast.expr] | None:
    """A full dotted name: the longest part that is a module, the rest looked up in it."""
    parts = full.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = read_source(".".join(parts[:cut]))
        if module is not None:
            return lookup(module, ".".join(parts[cut:]), depth + 1)
    return None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _lineage(source: Source, node: ast.ClassDef | ast.expr, seen: set[str]) -> Iterator[tuple[Source, ast.ClassDef]]:
    """A class and its bases, depth first, up to PerceptualCallback (what is above it imports Lightning)."""
    if not isinstance(node, ast.ClassDef) or f"{source.name}.{node.name}" in seen:
        return
    seen.add(f"{source.name}.{node.name}")
    yield source, node
    if f"{source.name}.{node.name}" == BASE:
        return
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base  # Base[T]
        found = lookup(source, _dotted(named))
        if found is not None:
            yield from _lineage(*found, seen=seen)


def _parameters(line: Sequence[tuple[Source, ast.ClassDef]]) -> dict[str, Parameter]:
    """Arguments of the first constructor; where it takes ``**base``, those of the next one too."""
    found: dict[str, Parameter] = {}
    for source, node in line:
        inits = [s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"]
        if not inits:
            continue
        arguments = inits[-1].args
        named = [*arguments.posonlyargs, *arguments.args][1:]  # without self
        optional = len(arguments.defaults)
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
    """What stands behind the type in ``Annotated[…]``, where its limits are literals; the rest is not ours."""
    if not isinstance(node, ast.Subscript) or _dotted(node.value).rpartition(".")[2] != "Annotated":
        return
    for marker in node.slice.elts[1:] if isinstance(node.slice, ast.Tuple) else ():
        kind = MARKERS.get(_dotted(marker.func).rpartition(".")[2]) if isinstance(marker, ast.Call) else None
        if kind is None or not isinstance(marker, ast.Call):
            continue
        with contextlib.suppress(ValueError, TypeError):
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
