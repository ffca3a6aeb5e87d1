# SPDX-License-Identifier: Apache-2.0
"""Modules and batches of test_gradient.py and test_gradient_cache.py; run by the latter: one of several ranks."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gloo_ranks import on_ranks
from torch import nn

from clip_align.config import OptimizerConfig
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.siglip import SigLIP
from clip_align.models.tiny import build_tiny
from clip_align.processes.ranks import Ranks
from clip_align.training.clip_module import CLIPModule
from clip_align.training.timed_loader import together

TOTAL = 12
LOSSES = {
    "infonce": InfoNCE,
    "chunked infonce": lambda: InfoNCE(chunk=5),
    "siglip": lambda: SigLIP(initial_bias=-3.0, chunk=5),
}


def around(model: nn.Module, loss: str) -> CLIPModule:
    return CLIPModule(model, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), OptimizerConfig(), 10, loss=LOSSES[loss]()).double()


def module(loss: str) -> CLIPModule:
    torch.manual_seed(0)
    return around(build_tiny(embed_dim=8, image_size=16, vocabulary_size=30, context=5), loss)


def batch(rank: int = 0, world: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (TOTAL, 3, 16, 16), dtype=torch.uint8, generator=generator)
    text = torch.randint(1, 29, (TOTAL, 5), generator=generator)
    text[:, 4] = 29
    own = slice(rank * TOTAL // world, (rank + 1) * TOTAL // world)
    keys = [str(row) for row in range(own.start, own.stop)]
    return {"image": image[own], "text": text[own], "keys": keys, "cursor": (0, 0)}


def micro_batches(whole: dict[str, Any], count: int) -> dict[str, Any]:
    size = len(whole["keys"]) // count
    parts = [{**whole, **{n: whole[n][i * size :][:size] for n in ("image", "text", "keys")}} for i in range(count)]
    (one,) = together(parts, count)
    return one


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


class Step(nn.Module):
    """What DDP wraps: its forward is the training step."""

    def __init__(self, module: CLIPModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.module.training_step(batch, 0)


def averaged(calls: list[int], bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """What DDP does with a bucket of gradients, noted in ``calls``."""
    calls.append(bucket.index())
    work = dist.all_reduce(bucket.buffer() / dist.get_world_size(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]


# DDP looks at them, and wants no text
averaged.__annotations__ = {"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]}


def steps(ranks: Ranks, loss: str, folder: Path) -> list[int]:
    """Leaves the gradients of two steps in ``folder``; how often DDP has averaged a bucket of gradients, at most."""
    own = module(loss)
    wrapped = nn.parallel.DistributedDataParallel(Step(own), gradient_as_bucket_view=True, static_graph=False)
    calls: list[int] = []
    wrapped.register_comm_hook(calls, averaged)
    reduced = []
    for step in (1, 2):
        own.zero_grad(set_to_none=True)
        calls.clear()
        wrapped(micro_batches(batch(ranks.rank, ranks.world), 2)).backward()
        reduced.append(max(calls.count(index) for index in calls))
        if ranks.rank == 0:
            torch.save(gradients(own), folder / f"{loss}-{ranks.world}-{step}.pt")
    return reduced


def on_rank(folder: Path, ranks: Ranks) -> dict[str, list[int]]:
    """`steps` with each loss."""
    return {loss: steps(ranks, loss, folder) for loss in LOSSES}


if __name__ == "__main__":
    print(json.dumps({world: on_ranks(world, partial(on_rank, Path(sys.argv[1]))) for world in (2, 3)}))
