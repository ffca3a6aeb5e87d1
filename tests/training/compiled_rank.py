# SPDX-License-Identifier: Apache-2.0
"""One of two ranks that train compiled, with trainer=ddp and trainer=fsdp: ``compiled_rank.py FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_clip import config, small_clip
from torch._dynamo.utils import counters
from train_synthetic import train

from clip_align.training.launch_ranks import RankLayout, join_process_group

STEPS = 5

if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
    layout = RankLayout(rank, rank, 2, 2, gpu=False)
    join_process_group(layout, 60.0, 60.0, print)
    for kind in ("ddp", "fsdp"):
        plain, compiled = (
            small_clip(checkpointing=True, compiled=one, by_block=kind == "fsdp", layers=1) for one in (False, True)
        )
        train(folder / f"{kind}-plain", STEPS, config(kind=kind), layout=layout, model=plain)
        assert not counters["frames"]
        for steps in (3, STEPS):
            train(folder / f"{kind}-parts", steps, config(kind=kind), layout=layout, model=compiled)
        train(folder / f"{kind}-whole", STEPS, config(kind=kind), layout=layout, model=compiled)
        assert counters["frames"]["ok"] == counters["frames"]["total"] > 0
        assert not counters["graph_break"]
        counters.clear()
