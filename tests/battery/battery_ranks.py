# SPDX-License-Identifier: Apache-2.0
"""Run as a process: one event of each named callback on 1 and on 2 gloo ranks, answers as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gloo_ranks
import shipped

from clip_align.processes.ranks import Ranks
from clip_align.testing import battery


def events(names: Sequence[str], data: Path, cache: Path, ranks: Ranks) -> dict[str, dict[str, Any] | None]:
    return {name: battery.event_fields(shipped.build(name, data), cache, ranks) for name in names}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = partial(events, sys.argv[2:], Path(sys.argv[1]), Path(folder))
        answers = {world: gloo_ranks.on_ranks(world, work) for world in (1, 2)}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
