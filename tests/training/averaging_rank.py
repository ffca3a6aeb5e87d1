# SPDX-License-Identifier: Apache-2.0
"""One of some ranks that train on made-up batches and average the weights: ``averaging_rank.py FOLDER WORLD``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import NormedPair
from train_synthetic import CONFIG, train

from clip_align.training.launch_ranks import RankLayout, join_process_group

STEPS = 12


def span(step: int) -> float:
    """Grows with the step, then falls back: an event comes early."""
    return max(1.0, min(0.5 * step, 4.0 if step > 9 else 99.0))


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world, folder = int(os.environ["RANK"]), int(sys.argv[2]), Path(sys.argv[1])
    layout = RankLayout(rank, rank, world, world, gpu=False)
    if world > 1:
        join_process_group(layout, 60.0, 60.0, print)
    loop = train(folder, STEPS, CONFIG, layout=layout, span=span, model=NormedPair)
    average = loop.module.average
    assert average is not None
    torch.save(average.state_dict(), folder / f"average-{rank}.pt")
