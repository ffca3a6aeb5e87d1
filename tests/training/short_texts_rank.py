# SPDX-License-Identifier: Apache-2.0
"""Batches and module of test_short_texts.py; run by it: ranks whose texts differ in length."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from gloo_ranks import on_ranks
from gradient_cache_rank import Step, gradients
from torch import nn

from clip_align.config import OptimizerConfig
from clip_align.processes.ranks import Ranks
from clip_align.training.clip_module import CLIPModule

VISION = {"image_size": 4, "patch_size": 2, "width": 16, "layers": 1, "head_width": 8}
TEXT = {"context_length": 12, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}
# places that the texts of a rank fill, step after step
FILLED = (
    ((5, 5, 5, 5), (7, 7, 7, 7)),  # a group on each rank
    ((3, 3, 3, 12), (7, 7, 7, 7)),
    ((5, 5, 5, 5), (12, 3, 4, 3)),
    ((12, 12, 12, 12), (11, 12, 12, 12)),  # nothing is left out
)


def batch(*filled: int) -> dict[str, Any]:
    texts = torch.zeros(len(filled), 12, dtype=torch.int64)
    for row, count in zip(texts, filled, strict=True):
        row[:count] = torch.arange(1, count + 1)
        row[count - 1] = 29
    images = torch.randint(0, 256, (len(filled), 3, 4, 4), generator=torch.Generator().manual_seed(sum(filled)))
    return {"image": images.to(torch.uint8), "text": texts, "keys": [], "repeated": []}


def module() -> CLIPModule:
    torch.manual_seed(0)
    model = open_clip.model.CLIP(8, VISION, TEXT)
    return CLIPModule(model, (0.5,) * 3, (0.5,) * 3, OptimizerConfig(), steps=2).double()


def steps(folder: Path, ranks: Ranks) -> None:
    """Leaves the gradients of each step in ``folder``."""
    own = module()
    wrapped = nn.parallel.DistributedDataParallel(Step(own), gradient_as_bucket_view=True, static_graph=True)
    for number, filled in enumerate(FILLED):
        own.zero_grad(set_to_none=True)
        wrapped(own.transfer_batch_to_device(batch(*filled[ranks.rank]), torch.device("cpu"), 0)).backward()
        if ranks.rank == 0:
            torch.save(gradients(own), folder / f"{number}.pt")


if __name__ == "__main__":
    print(json.dumps(on_ranks(2, partial(steps, Path(sys.argv[1])))))
