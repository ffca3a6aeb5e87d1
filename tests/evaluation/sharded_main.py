# SPDX-License-Identifier: Apache-2.0
"""Run as a process: a request encoded by a whole model, and by the same one sharded over 2 and 3 gloo ranks."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "battery"))

import gloo_ranks
import numpy as np
import stubs
import torch
from open_clip.model import CLIP
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from clip_align.evaluation.encode import EncodingRequest, Table, encode
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluation_mode import evaluating
from clip_align.evaluation.inputs import CachedImages
from clip_align.evaluation.reading import PROJECTION, MapReader, Reading
from clip_align.evaluation.weights import Swap, swapped
from clip_align.models.saliency_maps import attention_rollout, input_gradient
from clip_align.models.sharding import own_part, shard_model
from clip_align.processes.ranks import Ranks

IMAGES, BATCH = 11, 2  # six batches: two and three ranks both have rounds that differ
READINGS = {
    "projection": Reading(PROJECTION),
    "block": Reading(1),
    "rollout": Reading(MapReader(attention_rollout)),
    "gradient": Reading(MapReader(input_gradient, gradients=True)),
}


def vit() -> EvaluatedModel:
    vision = {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
    text = {"context_length": 4, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    model = CLIP(embed_dim=10, vision_cfg=vision, text_cfg=text)
    return EvaluatedModel(model, 32, (0.5,) * 3, (0.25,) * 3, stubs.Words())


def some(*rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.isin(np.arange(IMAGES), rows)


def request(broken: bool = False) -> EncodingRequest:
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 32, 32, 3), dtype=np.uint8)
    rows = np.stack([np.zeros(IMAGES, np.int64), np.arange(IMAGES)], 1)
    if broken:
        rows[5, 1] = 99  # the third batch cannot be read
    features = {"projection": some(*range(9)), "block": some(0, 3), "rollout": some(4), "gradient": some(2, 10)}
    return EncodingRequest(
        [CachedImages(images, "squash")],
        rows,
        ["a star", "a disc", "a ring"],
        {READINGS[name]: wanted for name, wanted in features.items()},
        np.array([[0, 1], [0, 2]]),
        {READINGS["block"]: np.array([True, False])},
    )


@contextlib.contextmanager
def halved(model: nn.Module) -> Iterator[None]:
    with swapped(model, {name: own_part(p.detach()) / 2 for name, p in model.named_parameters()}):
        yield


def listed(table: Table) -> Any:
    assert table.values is not None
    return table.values.tolist()


def encoded(reshard: bool, ranks: Ranks, broken: bool = False) -> Any:
    under_test = vit()
    model = under_test.model
    if ranks.world > 1:
        shard_model(model, init_device_mesh("cpu", (ranks.world,)), reshard)
    before = [own_part(p).clone() for p in model.parameters()]
    weights: dict[str, Swap] = {
        "raw": contextlib.nullcontext,
        "half": partial(halved, model),
        "again": contextlib.nullcontext,
    }
    with evaluating(model):
        answers = encode(under_test, request(broken), BATCH, ranks, contextlib.nullcontext, weights=weights)
    assert answers is not None
    assert all(torch.equal(a, own_part(p)) for a, p in zip(before, model.parameters(), strict=True))
    assert ranks.world == 1 or not any(p.grad is not None for p in model.parameters())
    if ranks.rank:
        return None
    return {
        name: {
            **{r: listed(of.features[READINGS[r]]) for r in READINGS},
            "squares": listed(of.squares[READINGS["block"]]),
            "texts": listed(of.texts),
        }
        for name, of in answers.items()
    }


def main() -> None:
    work: dict[str, tuple[int, Callable[[Ranks], Any]]] = {
        "1": (1, partial(encoded, True)),
        "2": (2, partial(encoded, True)),
        "3": (3, partial(encoded, True)),
        "2 kept": (2, partial(encoded, False)),
        "broken": (2, partial(encoded, True, broken=True)),
    }
    print(json.dumps({name: gloo_ranks.on_ranks(world, function) for name, (world, function) in work.items()}))


if __name__ == "__main__":
    main()
