# SPDX-License-Identifier: Apache-2.0
"""One rank that meets the others, or does not: ``meeting_rank.py <rank> <world> <limit for rank 0> <limit>``."""

from __future__ import annotations

import os
import sys

from clip_align.errors import UserError
from clip_align.training.rendezvous import meet

rank, world = int(sys.argv[1]), int(sys.argv[2])
os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
try:
    meet(rank, world, float(sys.argv[3]), float(sys.argv[4]), 1.0, lambda line: print(line, flush=True))
except UserError as error:
    print(*error.lines, sep="\n", flush=True)
    os._exit(error.exit_code)
print("met", flush=True)
os._exit(0)
