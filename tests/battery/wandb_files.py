# SPDX-License-Identifier: Apache-2.0
"""wandb's own files of offline runs, read by its own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def inspected(folder: Path) -> list[dict[str, Any]]:
    """The records of the newest wandb file."""
    newest = max(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda p: p.stat().st_mtime)
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(newest), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]


def rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """History rows as dictionaries."""
    found = []
    for record in records:
        if record["type"] == "history":
            found.append(_values(record["history"]))
    return found


def _values(history: Mapping[str, Any]) -> dict[str, Any]:
    items = history.get("item", history)
    return {k: json.loads(v) if isinstance(v, str) else v for k, v in items.items()}
