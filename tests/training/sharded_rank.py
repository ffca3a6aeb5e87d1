# SPDX-License-Identifier: Apache-2.0
"""Trainings with trainer=ddp and trainer=fsdp on 2 and 3 gloo ranks, for test_sharded.py; argument: a folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

import pytorch_lightning as pl
from gloo_ranks import on_ranks
from pytorch_lightning.plugins import MixedPrecision
from synthetic import NormedPair
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from train_synthetic import CONFIG, stop_at, train

from clip_align.config import CheckpointConfig, Config, OptimizerConfig, TrainerConfig
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.siglip import SigLIP
from clip_align.models.sharding import is_sharded, own_part
from clip_align.processes.ranks import Ranks
from clip_align.training import sharded_strategy
from clip_align.training.launch_ranks import RankLayout, environment_of
from clip_align.training.training_loop import TrainingLoop

STEPS, FAILS_AFTER = 10, 8
LOSSES = {"infonce": InfoNCE, "siglip": SigLIP}
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # loss and trainer options
    "siglip": ("siglip", {"accumulate_grad_batches": 2}),
    "kept": ("siglip", {"accumulate": 2, "reshard_after_forward": False}),
    "cached": ("infonce", {"accumulate": 2}),
    "infonce": ("infonce", {}),
    "bf16": ("infonce", {"precision": "bf16-mixed"}),
}
RUNS = {2: tuple(CASES), 3: ("siglip", "cached")}  # cases by number of ranks
CHANGES = {2: (("fsdp", "fsdp"), ("ddp", "fsdp"), ("fsdp", "ddp")), 3: (("fsdp", "fsdp"),)}  # of resumed runs


class Blocks(NormedPair):
    """Blocks as towers have them, widths that no number of ranks divides, and a parameter of one row."""

    def __init__(self) -> None:
        super().__init__()
        # AdamW makes steps of rounding errors where a gradient is 0: a bias before the norm, a gain on whole embeddings
        self.visual = nn.Linear(48, 8, bias=False)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 13), nn.GELU(), nn.Linear(13, 8)) for _ in range(2))
        self.gain = nn.Parameter(torch.ones(1))
        self.patch = nn.Conv2d(3, 3, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(0.1)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        features = super().encode_image(image + self.patch(image))
        for block in self.blocks:
            features = features + self.dropout(block(features))
        return features + self.gain * features.relu()


def span(step: int) -> float:
    return max(1.0, 0.5 * step)


def config(kind: str, **options: Any) -> Config:
    reshard = {} if kind == "fsdp" else {"reshard_after_forward": True}
    return replace(
        CONFIG,
        trainer=TrainerConfig(**{"kind": kind, "log_every_n_steps": 1, **options, **reshard}),
        optimizer=OptimizerConfig(lr=1e-2, warmup_steps=2, clip_norm=0.5),  # below the norms: every step is clipped
        checkpoint=CheckpointConfig(every_n_steps=6, keep_last=99, best=None),
    )


def trained(folder: Path, ranks: Ranks, kind: str, case: str, steps: int = STEPS, **options: Any) -> TrainingLoop:
    loss, of_trainer = CASES[case]
    if ranks.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
    layout = RankLayout(ranks.rank, ranks.rank, ranks.world, ranks.world, gpu=False)
    dist.barrier()
    return train(
        folder,
        steps,
        config(kind, **of_trainer),
        layout=layout,
        span=span,
        model=Blocks,
        loss=LOSSES[loss](),
        **options,
    )


@contextmanager
def scaled() -> Iterator[None]:
    """Half precision as on a GPU; Lightning takes bfloat16 on the CPU."""
    trainer = pl.Trainer

    def with_scaler(**options: Any) -> pl.Trainer:
        plugin = MixedPrecision("16-mixed", "cpu", ShardedGradScaler("cpu", init_scale=2.0**6))
        others = [one for one in options["plugins"] if not isinstance(one, MixedPrecision)]
        return trainer(**{**options, "precision": None, "plugins": [*others, plugin]})

    pl.Trainer = with_scaler  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        pl.Trainer = trainer  # type: ignore[misc]


def overflowing_on(rank: int, step: int, ranks: Ranks) -> Callable[[TrainingLoop], None]:
    """One rank's gradient is infinite in one step."""

    def change(loop: TrainingLoop) -> None:
        own = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
            loss = own(batch, batch_idx)
            if ranks.rank == rank and loop.module.step_under_way == step:
                loss.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
            return loss

        loop.module.training_step = training_step  # type: ignore[method-assign]

    return change


def on_rank(folder: Path, ranks: Ranks) -> dict[str, Any]:
    os.environ.update(environment_of(ranks.rank, ranks.world, 1))  # Lightning reads it; the group has been joined
    folder = folder / str(ranks.world)
    found: dict[str, Any] = {}
    for case in RUNS[ranks.world]:
        for kind in ("ddp", "fsdp"):
            loop = trained(folder / kind / case, ranks, kind, case)
        model = loop.module.model
        found[case] = {
            "sharded": is_sharded(model),
            "own": sum(own_part(p).numel() for p in model.parameters()),
            "all": sum(p.numel() for p in model.parameters()),
        }
    for first, second in CHANGES[ranks.world]:
        place = folder / f"{first}-{second}"
        trained(place, ranks, first, "cached", change=stop_at(7))
        trained(place, ranks, second, "cached")
    if ranks.world == 2:
        with scaled():
            loop = train_half(folder / "half", ranks)
        found["skipped"] = loop.module.skipped
    found["failed"] = failed(folder / "failed", ranks)
    strategy: Any = trained(folder / "failed", ranks, "fsdp", "cached").module.trainer.strategy
    sharded_strategy.AGREE_S = 0.5
    found["agreed"] = [strategy.agreed(8), strategy.agreed(None), strategy.agreed(8 + ranks.rank)]
    found["alone"] = strategy.agreed(8) if ranks.rank else False  # at last: the group may not be usable after that
    return found


class Fails(pl.Callback):
    """Raises after step 8."""

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == FAILS_AFTER:
            raise ValueError("it has failed")


def failed(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """A training that fails on all ranks; what the end of a run learns of it."""
    kept: list[TrainingLoop] = []
    try:
        trained(folder, ranks, "fsdp", "cached", evaluations=[Fails()], change=kept.append)
    except Exception as error:
        (loop,) = kept
        return {"error": str(error), "again": loop.rescue.save(), "lost": loop.rescue.lost()}
    return {}


def train_half(folder: Path, ranks: Ranks) -> TrainingLoop:
    CASES["half"] = ("infonce", {"precision": "16-mixed"})
    return trained(folder, ranks, "fsdp", "half", change=overflowing_on(1, 4, ranks))


if __name__ == "__main__":
    print(json.dumps({world: on_ranks(world, partial(on_rank, Path(sys.argv[1]))) for world in (2, 3)}))
