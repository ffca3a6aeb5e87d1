# SPDX-License-Identifier: Apache-2.0
"""Run by test_rank_gradients.py: losses and gradients on 2 and 3 gloo ranks, also without the gather's gradient."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from gloo_ranks import on_ranks
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from clip_align.errors import RunError
from clip_align.losses import infonce as module
from clip_align.losses.base import Loss
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.siglip import SigLIP
from clip_align.processes.ranks import Ranks

PAIRS = 12  # whole batch: 6 a rank on 2 ranks, 4 on 3
COPIES = (5, 10, 11)  # rows of it, unequally many on each rank, none on the first of three
CHUNKS = {1: 5, 2: 4, 3: 3}  # by number of ranks: none of them divides the rows of a rank


class Encoders(nn.Module):
    """A small convolutional and a small text encoder, float64, with the loss as output."""

    def __init__(self, loss: Loss | None = None) -> None:
        super().__init__()
        self.loss = loss
        torch.manual_seed(0)
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(1, 8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 49, 16)
        )
        self.text = nn.Sequential(nn.EmbeddingBag(50, 16), nn.Linear(16, 16))
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))
        self.double()

    def forward(
        self, images: torch.Tensor, texts: torch.Tensor, rank: int, world: int, copies: torch.Tensor | None = None
    ) -> torch.Tensor:
        loss = self.loss or module.infonce
        value: torch.Tensor = loss(self.image(images), self.text(texts), self.logit_scale, rank, world, copies)
        return value


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(PAIRS, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(50, (PAIRS, 5), generator=generator)


def gradients(rank: int, world: int, left_out: str = "", loss: Loss | None = None) -> dict[str, torch.Tensor]:
    """Loss and gradients of one step; under DDP (world > 1) they are the mean over ranks.

    ``left_out``: what is done with `COPIES`: ``masked`` in the loss, or ``absent`` from the batch. ``loss``: InfoNCE
    with all logits at once unless given.
    """
    model = Encoders(loss).float() if left_out == "nothing, float32" else Encoders(loss)
    absent = torch.zeros(PAIRS, dtype=torch.bool)
    absent[list(COPIES)] = True
    parts = [part[~absent] if left_out == "absent" else part for part in batch()]
    images, texts = (part.chunk(world)[rank] for part in parts)
    images = images.to(model.logit_scale.dtype)
    copies = absent.chunk(world)[rank] if left_out == "masked" else None
    copies = copies if copies is not None and copies.any() else None
    whole = DistributedDataParallel(model) if world > 1 else model
    value = whole(images, texts, rank, world, copies)
    value.backward()
    return {"loss": value.detach(), **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}}


def losses(world: int) -> dict[str, Loss]:
    """All of them, also with chunks that do not divide the rows of a rank."""
    bias = -3.0  # where gradients are not as small as at -10
    return {
        "infonce": InfoNCE(),
        "chunked infonce": InfoNCE(chunk=CHUNKS[world]),
        "siglip": SigLIP(initial_bias=bias),
        "chunked siglip": SigLIP(initial_bias=bias, chunk=CHUNKS[world]),
    }


def without_gradient(rows: torch.Tensor) -> torch.Tensor:
    """What a plain all-gather does: values of all ranks, no gradient. The negative control."""
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def plain(
    image: torch.Tensor, text: torch.Tensor, logit_scale: torch.Tensor, rank: int, world: int, copies: None
) -> torch.Tensor:
    """The loss of a whole batch in which no row can be a copy."""
    image, text = functional.normalize(image, dim=-1), functional.normalize(text, dim=-1)
    images, texts = module.gather_rows(torch.cat([image, text], dim=1)).chunk(2, dim=1)
    own = torch.arange(len(image)) + rank * len(image)
    scale = logit_scale.exp()  # once: gradients of two would be multiplied by it before they are added
    to_texts = functional.cross_entropy(scale * image @ texts.T, own)
    to_images = functional.cross_entropy(scale * text @ images.T, own)
    return (to_texts + to_images) / 2


def on_rank(folder: Path, ranks: Ranks) -> list[str]:
    """Leaves losses and gradients in ``folder``; error messages for ranks with different numbers of rows."""
    rank, world = ranks.rank, ranks.world
    found = {}
    for name in losses(world):  # each time a new one: its parameters have gradients then
        for suffix, left_out in (("", ""), (", masked", "masked"), (", float32", "nothing, float32")):
            found[f"{name}{suffix}"] = gradients(rank, world, left_out, losses(world)[name])
    with mock.patch.object(module, "infonce", plain):
        found["plain"] = gradients(rank, world, "nothing, float32")
    with mock.patch.object(module, "gather_rows", without_gradient):
        found["broken"] = gradients(rank, world)
    for each in found.values():  # a rank's loss is of its own rows; the whole batch's is their mean
        dist.all_reduce(each["loss"])
        each["loss"] /= world
    if rank == 0:
        torch.save(found, folder / f"gradients{world}")
    return [refusal(loss, rank, world) for loss in (InfoNCE(), InfoNCE(chunk=2), SigLIP(chunk=2))]


def refusal(loss: Loss, rank: int, world: int) -> str:
    """The error message for ranks with different numbers of rows, each number for the first time."""
    try:
        loss(torch.ones(3 + rank, 4), torch.ones(3 + rank, 4), torch.tensor(1.0), rank, world)
    except RunError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    print(json.dumps({world: on_ranks(world, partial(on_rank, Path(sys.argv[1]))) for world in (2, 3)}))
