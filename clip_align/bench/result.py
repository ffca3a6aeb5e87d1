# SPDX-License-Identifier: Apache-2.0
"""The result of a benchmark: what is printed, what the JSON file holds, and whether it passed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_align.errors import RunError
from clip_align.runs.folder import write_atomic
from clip_align.runs.provenance import git_commit, hardware, versions

SCHEMA = 1  # of the JSON file; raised when a key changes its meaning


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    cases: plain values, one mapping a case, each with a ``name``. lines: for the terminal. missed: a line for each
    requirement that was not met.
    """

    cases: Sequence[Mapping[str, Any]]
    lines: Sequence[str]
    missed: Sequence[str] = ()


def plain(name: str, options: Mapping[str, Any], result: Result, seconds: float) -> dict[str, Any]:
    """The content of the JSON file.

    Args:
        name: of the benchmark.
        options: as it ran.
        result: what it found.
        seconds: that it took.
    """
    return {
        "schema": SCHEMA,
        "benchmark": name,
        "options": dict(options),
        "cases": [dict(case) for case in result.cases],
        "passed": not result.missed,
        "missed": list(result.missed),
        "seconds": round(seconds, 1),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "versions": versions(),
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write the JSON file, whole or not at all; RunError where that fails."""
    try:
        write_atomic(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise RunError(f"output: {path} cannot be written ({error.strerror or error})") from error
