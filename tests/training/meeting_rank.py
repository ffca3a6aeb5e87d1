# SPDX-License-Identifier: Apache-2.0
"""One rank that meets the others, or does not: ``meeting_rank.py <rank> <world> <limit for rank 0> <limit> <clock>``.

With a clock, the name of a file, half a second passes between two looks of the rank, whatever the machine is at, and
none before the file is there; without one (an empty name) it has the time of the machine.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from clip_align.errors import UserError
from clip_align.training import rendezvous

rank, world = int(sys.argv[1]), int(sys.argv[2])
os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
if sys.argv[5]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 0.5 if Path(sys.argv[5]).exists() else 0.0
        time.sleep(min(seconds, 0.05))

    rendezvous.time = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)  # type: ignore[assignment]
try:
    rendezvous.meet(rank, world, float(sys.argv[3]), float(sys.argv[4]), 1.0, lambda line: print(line, flush=True))
except UserError as error:
    print(*error.lines, sep="\n", flush=True)
    os._exit(error.exit_code)
print("met", flush=True)
os._exit(0)
