# SPDX-License-Identifier: Apache-2.0
"""One of two ranks that train on made-up batches and both fail after step 13: ``failing_rank.py FOLDER all|one``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parent))

from train_synthetic import train

from clip_align.errors import RunError
from clip_align.training.launch_ranks import RankLayout, join_process_group
from clip_align.training.training_loop import TrainingLoop


class Fails(pl.Callback):
    """Raises on every rank; ``on_all_ranks``: what is raised is marked as raised by all ranks."""

    def __init__(self, on_all_ranks: bool) -> None:
        self.on_all_ranks = on_all_ranks

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == 13:
            error = RunError("it has failed")
            error.on_all_ranks = self.on_all_ranks
            raise error


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    layout = RankLayout(rank, rank, 2, 2, gpu=False)
    join_process_group(layout, 60.0)
    loops: list[TrainingLoop] = []
    try:
        train(Path(sys.argv[1]), 20, layout=layout, evaluations=[Fails(sys.argv[2] == "all")], change=loops.append)
    except RunError as error:
        loops[0].rescue.save()  # as the end of a run does after every failure
        print(error, flush=True)
        os._exit(1)  # as a rank ends whose others may be gone
