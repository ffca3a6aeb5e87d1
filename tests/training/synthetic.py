# SPDX-License-Identifier: Apache-2.0
"""A model of a few hundred weights and batches that need no files, for tests of the training loop."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Cursor(NamedTuple):
    epoch: int
    batch: int


class Pair(nn.Module):
    """Images of 4 px and texts of 3 of 20 tokens, embedded linearly."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.visual = nn.Linear(48, width)
        self.words = nn.Embedding(20, width)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.visual(image.flatten(1))
        return features

    def encode_text(self, text: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.words(text).mean(1)
        return features


class NormedPair(Pair):
    """With running statistics that differ between ranks, and a constant that no average must touch."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.norm(super().encode_image(image))
        return features


def batch(number: int, size: int = 8, rank: int = 0, world: int = 1, per_epoch: int = 10) -> dict[str, Any]:
    """Batch ``number`` of the run: this rank's rows of it."""
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(0, 256, (size * world, 3, 4, 4), generator=generator, dtype=torch.uint8)
    text = torch.randint(0, 20, (size * world, 3), generator=generator)
    own = slice(rank * size, (rank + 1) * size)
    keys = [f"s{number}-{i}" for i in range(own.start, own.stop)]
    after = number + 1
    return {
        "image": image[own],
        "text": text[own],
        "cursor": Cursor(after // per_epoch, after % per_epoch),
        "keys": keys,
        "skipped": [],
    }


class Endless(IterableDataset[dict[str, Any]]):
    """Batches from ``first`` on, dealt to workers in turn so that their order is kept."""

    def __init__(self, first: int = 0, **run_position: int) -> None:
        super().__init__()
        self.first, self.run_position = first, run_position

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        number = self.first + (worker.id if worker else 0)
        while True:
            yield batch(number, **self.run_position)
            number += worker.num_workers if worker else 1


def loader(first: int = 0, workers: int = 0, **run_position: int) -> DataLoader[dict[str, Any]]:
    return DataLoader(Endless(first, **run_position), batch_size=None, num_workers=workers, worker_init_fn=deaf)


def deaf(worker: int) -> None:
    """Workers leave signals to the process that trains, as those of `clip_align.data` do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
