# SPDX-License-Identifier: Apache-2.0
"""Modules read from source: nothing is imported, so that no slow or outside code runs.

Names are followed through imports, and classes through their bases.
"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NO_MODULE = "no such module"


@dataclass(frozen=True, eq=False)
class Source:
    """A module's source, by its dotted name."""

    name: str
    tree: ast.Module
    is_package: bool


class UnreadableError(Exception):
    """A module's source cannot be read: it does not exist, or is no valid Python."""


@functools.cache  # every constructor leads through the same bases
def read_source(name: str) -> Source | None:
    """The module ``name``, parsed; None without readable source."""
    try:
        return parsed(name)
    except UnreadableError:
        return None


def parsed(name: str) -> Source:
    """The module ``name``, parsed; UnreadableError, with file and line of a syntax error, if that is impossible."""
    path = located(name)
    if path is None:
        raise UnreadableError(NO_MODULE)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UnreadableError(f"its module is no valid Python: {error.msg} ({path}, line {error.lineno})") from None
    except (OSError, ValueError) as error:  # a file that may not be read, bytes that are no UTF-8, a null byte
        raise UnreadableError(f"its module cannot be read: {error} ({path})") from None
    return Source(name, tree, path.name == "__init__.py")


def lookup(source: Source, name: str, depth: int = 0) -> tuple[Source, ast.ClassDef | ast.expr] | None:
    """The class or expression that a name refers to at the top of a module, following imports; None if unknown.

    Args:
        source: the module.
        name: may contain dots.
        depth: of recursion, bounded against circular imports.
    """
    if depth > 10:  # a circle of imports
        return None
    head, _, rest = name.partition(".")  # an import binds the first part
    for node in _statements(source.tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return source, node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return source, node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return (source, node.value) if node.value is not None else None  # an annotation alone binds nothing
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for full in _imported(source, node, head):
                found = _follow(f"{full}.{rest}" if rest else full, depth)
                if found is not None:
                    return found
    return None


def located(name: str) -> Path | None:
    """Source file of a module, found without importing its parents; None if there is none."""
    first, *others = name.split(".")
    try:
        spec = importlib.util.find_spec(first)  # a top-level name: nothing is imported
    except (ImportError, ValueError):
        return None
    for i in range(len(others)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        where = list(spec.submodule_search_locations)
        # importlib.util.find_spec would import the parents
        spec = importlib.machinery.PathFinder.find_spec(".".join([first, *others[: i + 1]]), where)
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin and origin.endswith(".py") else None  # an extension module has no source


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
                yield head  # import a.b binds a
        elif (alias.asname or alias.name) == head:
            parents = source.name.split(".")
            # one dot is the package itself: of a module its parent, of an __init__ its own name
            upwards = node.level - 1 if source.is_package else node.level
            start = parents[: len(parents) - upwards] if node.level else []
            yield ".".join([*start, *([node.module] if node.module else []), alias.name])


def _follow(full: str, depth: int) -> tuple[Source, ast.ClassDef | ast.expr] | None:
    """A full dotted name: the longest part that is a module, the rest looked up in it."""
    parts = full.split(".")
    # the longest first: a package may have an attribute and a module of one name
    for cut in range(len(parts) - 1, 0, -1):
        module = read_source(".".join(parts[:cut]))
        if module is not None:
            return lookup(module, ".".join(parts[cut:]), depth + 1)
    return None


def dotted(node: ast.expr) -> str:
    """``a.b.c`` as it is written; empty for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def lineage(source: Source, node: ast.ClassDef | ast.expr, top: str) -> Iterator[tuple[Source, ast.ClassDef]]:
    """A class and its bases, each once, after all classes that derive from it: where Python looks for an attribute.

    Args:
        source: module of the class.
        node: the class; anything else yields nothing.
        top: dotted name of the last class to follow, whose own bases may be outside the source tree.
    """
    found = list(_depth_first(source, node, top, ()))
    last = {f"{place.name}.{one.name}": number for number, (place, one) in enumerate(found)}
    yield from (found[number] for number in sorted(last.values()))


def _depth_first(
    source: Source, node: ast.ClassDef | ast.expr, top: str, below: tuple[str, ...]
) -> Iterator[tuple[Source, ast.ClassDef]]:
    """As `lineage`, but a base of several classes comes once for each of them.

    Args:
        source: module of the class.
        node: the class.
        top: dotted name of the last class to follow.
        below: names of the classes from which this base was reached, none of which is followed again.
    """
    name = f"{source.name}.{node.name}" if isinstance(node, ast.ClassDef) else ""
    if not isinstance(node, ast.ClassDef) or name in below:
        return
    yield source, node
    if name == top:
        return
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base  # Base[T]
        found = lookup(source, dotted(named))
        if found is not None:
            yield from _depth_first(*found, top, (*below, name))


def derives(source: Source, node: ast.ClassDef | ast.expr, top: str) -> bool:
    """Whether ``top`` is the class or one of its bases.

    Args:
        source: module of the class.
        node: the class.
        top: dotted name.
    """
    return any(f"{place.name}.{one.name}" == top for place, one in lineage(source, node, top))
