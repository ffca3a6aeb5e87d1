# SPDX-License-Identifier: Apache-2.0
"""One of two ranks that train with patch dropout and activation checkpointing: ``tower_options_rank.py FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_clip import config, small_clip
from train_synthetic import train

from clip_align.training.launch_ranks import RankLayout, join_process_group

STEPS = 5

if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
    layout = RankLayout(rank, rank, 2, 2, gpu=False)
    join_process_group(layout, 60.0, 60.0, print)
    for name, accumulate in (("plain", 1), ("accumulated", 2)):  # with DDP's static graph, and without
        settings, again = config(accumulate=accumulate), small_clip(0.5, checkpointing=True)
        train(folder / f"{name}-whole", STEPS, settings, layout=layout, model=small_clip(0.5))
        train(folder / f"{name}-again", STEPS, settings, layout=layout, model=again)
        for steps in (3, STEPS):
            train(folder / f"{name}-parts", steps, settings, layout=layout, model=small_clip(0.5))
