# SPDX-License-Identifier: Apache-2.0
"""One rank of three on two machines, which finds rank 0's checkpoint: ``sending_rank.py <folder>``.

Ranks 1 and 2 are on the second machine. Its folder holds what an earlier test has put there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.distributed as dist

from clip_align.errors import UserError
from clip_align.processes.ranks import Ranks
from clip_align.training import sent_checkpoint
from clip_align.training.same_on_all import check_same

sent_checkpoint.CHUNK = 1000  # many parts
rank = int(os.environ["RANK"])
os.chdir(Path(sys.argv[1]) / ("b" if rank else "a"))
dist.init_process_group("gloo")
ranks = Ranks()
with sent_checkpoint.on_every_machine(Path("x.ckpt"), Path("cache").absolute(), rank < 2, ranks, print) as path:
    print(path.name if path.parent == Path() else "copy", sent_checkpoint.fingerprint(path), flush=True)
    dist.barrier()
try:
    check_same({"the training data": "same", "the version of torch": "2" if rank else "1"}, ranks)
except UserError as error:
    print(*error.lines, sep="\n", flush=True)
dist.destroy_process_group()
