# SPDX-License-Identifier: Apache-2.0
"""One of some ranks that train with micro-batches and with the larger batch: ``accumulating_rank.py FOLDER WORLD``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from train_synthetic import EACH, train

from clip_align.config import Config, TrainerConfig
from clip_align.losses.siglip import SigLIP
from clip_align.training.launch_ranks import RankLayout, join_process_group
from clip_align.training.training_loop import TrainingLoop

STEPS = 5


class Joined:
    """A loader's batches, ``count`` of them made into one."""

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.count = loader, count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = iter(self.loader)
        while True:
            parts = [next(batches) for _ in range(self.count)]
            rows = {name: torch.cat([part[name] for part in parts]) for name in ("image", "text")}
            yield {**parts[-1], **rows, "keys": [key for part in parts for key in part["keys"]]}


def joined(count: int) -> Any:
    def change(loop: TrainingLoop) -> None:
        loop.timed_loader.loader = Joined(loop.timed_loader.loader, count)

    return change


def config(**trainer: Any) -> Config:
    return replace(EACH, trainer=TrainerConfig(**{"kind": "cpu", "log_every_n_steps": 1, **trainer}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world, folder = int(os.environ["RANK"]), int(sys.argv[2]), Path(sys.argv[1])
    layout = RankLayout(rank, rank, world, world, gpu=False)
    join_process_group(layout, 60.0, 60.0, print)
    for name, loss in (("infonce", None), ("siglip", SigLIP)):
        made = loss() if loss else None, loss() if loss else None
        train(folder / f"{name}-parts", STEPS, config(accumulate=3), layout=layout, loss=made[0])
        train(folder / f"{name}-whole", STEPS, config(), layout=layout, loss=made[1], change=joined(3))
