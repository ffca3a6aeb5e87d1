# SPDX-License-Identifier: Apache-2.0
"""Which commands there are: a module here with a SUMMARY is one."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Every command and what it does: the modules of ``clip_align/commands`` with a SUMMARY, read, not imported.

    Such a module has ``main(arguments) -> exit code`` too. The one that people begin with comes first.
    """
    found = {path.stem: _summary(path) for path in sorted(FOLDER.glob("*.py"))}
    return {name: what for name, what in sorted(found.items(), key=lambda item: item[0] != "train") if what}


def _summary(path: Path) -> str | None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SUMMARY":
            return str(ast.literal_eval(node.value))
    return None
