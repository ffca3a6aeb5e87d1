# SPDX-License-Identifier: Apache-2.0
"""What each rank holds of a model in training with trainer=fsdp: sizes of its tensors, as rows of a table.

    python tests/training/sharded_memory.py [architecture] [ranks,ranks,…]

Parameters, gradients and AdamW's two moments after one step, in MiB; and the largest group of parameters that is
gathered at a time. Nothing else is counted: no activations, buckets, or caches of an allocator.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "battery"))

import gloo_ranks
import torch
from torch.distributed.device_mesh import init_device_mesh

from clip_align.config import ModelConfig
from clip_align.models.build import build_model
from clip_align.models.sharding import gathered_groups, own_part, shard_model
from clip_align.processes.ranks import Ranks

MIB = 2**20


def sizes(name: str, ranks: Ranks) -> dict[str, float]:
    """MiB of this rank."""
    with torch.device("meta"):  # sizes are the same without values
        model: Any = build_model(ModelConfig("open_clip", name, None), device="meta").model
    groups = gathered_groups(model)
    if ranks.world > 1:
        shard_model(model, init_device_mesh("cpu", (ranks.world,)), True)
    own = sum(own_part(p).numel() for p in model.parameters()) * 4 / MIB
    gathered = max(groups) * 4 / MIB if ranks.world > 1 else 0.0
    return {"parameters": own, "gradients": own, "moments": 2 * own, "gathered": gathered}


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "ViT-B-32"
    print("| ranks | parameters | gradients | moments | together | largest gathered group |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for world in map(int, (sys.argv[2] if len(sys.argv) > 2 else "1,2,3").split(",")):
        most = max(gloo_ranks.on_ranks(world, partial(sizes, name)), key=lambda of: of["parameters"])
        held = [most[column] for column in ("parameters", "gradients", "moments")]
        print("| " + " | ".join([str(world), *(f"{v:,.1f} MiB" for v in (*held, sum(held), most["gathered"]))]) + " |")
