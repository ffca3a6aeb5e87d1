# SPDX-License-Identifier: Apache-2.0
"""Tables of the kinds of losses, data sources, trackers and interventions.

A kind is one module and one yaml of its name; a table lists the modules of a folder, so that a new kind needs only
these two files. For a module in an outside package the yaml's ``kind`` is the module's dotted name. Modules are found
and checked by their source, and imported only when used.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_align.source_code import derives, read_source

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Table:
    """The kinds of one config group.

    group: whose options choose a kind (``loss=…``). package: holds their modules, each with one subclass of
    ``base``, which is given by its dotted name.
    """

    group: str
    package: str
    base: str

    def names(self) -> list[str]:
        """The shipped kinds, in alphabetical order."""
        folder = PACKAGE.joinpath(*self.package.split(".")[1:])  # found without importing the package
        return sorted(path.stem for path in folder.glob("*.py") if self.target(path.stem) is not None)

    def target(self, kind: str) -> str | None:
        """Dotted name of the class of a kind, None if there is none; nothing is imported."""
        return _target(kind if "." in kind else f"{self.package}.{kind}", self.base)

    def load(self, kind: str) -> Any:
        """The class of a kind; KeyError if there is none."""
        target = self.target(kind)
        if target is None:
            raise KeyError(f"{self.group}: no kind {kind}")
        module, _, name = target.rpartition(".")
        return getattr(importlib.import_module(module), name)

    def build(self, kind: str, options: Mapping[str, Any]) -> Any:
        """Construct an object of a kind with its options."""
        return self.load(kind)(**options)


@functools.cache  # asked again for every key that is checked
def _target(module: str, base: str) -> str | None:
    if not all(part.isidentifier() for part in module.split(".")):  # typed by the user, maybe a path
        return None
    source = read_source(module)
    if source is None:
        return None
    for node in source.tree.body:
        # the base itself is in such a folder too, and is no kind
        if isinstance(node, ast.ClassDef) and f"{module}.{node.name}" != base and derives(source, node, base):
            return f"{module}.{node.name}"
    return None


LOSSES = Table("loss", "clip_align.losses", "clip_align.losses.base.Loss")
SOURCES = Table("data", "clip_align.data.sources", "clip_align.data.sources.base.DataSource")
TRACKERS = Table("tracker", "clip_align.tracking", "clip_align.tracking.base.Tracker")
INTERVENTIONS = Table(
    "intervention", "clip_align.training.interventions", "clip_align.training.interventions.base.Intervention"
)
