# SPDX-License-Identifier: Apache-2.0
"""The commands: the modules in this folder with a SUMMARY."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Every command with its summary, read from the source without importing it; ``train`` comes first.

    A command module also has ``main(arguments) -> exit code``.
    """
    found = {path.stem: _summary(path) for path in sorted(FOLDER.glob("*.py"))}
    return {name: what for name, what in sorted(found.items(), key=lambda item: item[0] != "train") if what}


def _summary(path: Path) -> str | None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:  # importing all commands would import torch
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SUMMARY":
            return str(ast.literal_eval(node.value))
    return None
