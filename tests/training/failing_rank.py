# SPDX-License-Identifier: Apache-2.0
"""One of two ranks that train on made-up batches, with noise, and fail after step 13: ``failing_rank.py FOLDER WHO``.

WHO: all (both fail, and the error says so), one (it says nothing of others), none (the second rank's process ends
without a word in the middle of step 14), nobody (both train to step 20).
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parent))

from train_synthetic import EACH, train

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


def noisy(loop: TrainingLoop, ends_at: int | None = None) -> None:
    """Noise from all global generators is added to images; the process ends in step ``ends_at``."""
    step = loop.module.training_step

    def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        image = batch["image"].float() + 30 * torch.randn(batch["image"].shape)
        image = image + 30 * random.random() + 30 * float(np.random.rand())
        if loop.module.step_under_way == ends_at:
            os._exit(7)
        return step({**batch, "image": image}, batch_idx)

    loop.module.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, who = int(os.environ["RANK"]), sys.argv[2]
    layout = RankLayout(rank, rank, 2, 2, gpu=False)
    join_process_group(layout, 60.0, 60.0, print)
    loops: list[TrainingLoop] = []

    def change(loop: TrainingLoop) -> None:
        noisy(loop, 14 if who == "none" and rank == 1 else None)
        loops.append(loop)

    fails = [Fails(who == "all")] if who in ("all", "one") else []
    try:
        train(Path(sys.argv[1]), 20, EACH, layout=layout, evaluations=fails, change=change)
    except Exception as error:
        loops[0].rescue.save()  # as the end of a run does after every failure
        print(error, flush=True)
        os._exit(1)  # as a rank ends whose others may be gone
    os._exit(0)
