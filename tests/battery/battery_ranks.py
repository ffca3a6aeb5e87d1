# SPDX-License-Identifier: Apache-2.0
"""Run as a process: one event of every shipped callback on 1 and on 2 gloo ranks, answers as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import checks
import shipped
import stubs

from clip_align.evaluation.ranks import Ranks


def event(name: str, data: Path, cache: Path, ranks: Ranks) -> dict[str, Any] | None:
    return checks.event_fields(shipped.build(name, data), cache, ranks)


def main() -> None:
    data, answers = Path(sys.argv[1]), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in shipped.names():
            for world in (1, 2):
                answers[f"{name}/{world}"] = stubs.on_ranks(world, partial(event, name, data, Path(folder)))
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
