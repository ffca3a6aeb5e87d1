# SPDX-License-Identifier: Apache-2.0
"""Run as a process: events on 1, 2 and 3 gloo ranks, answers as JSON. One import of torch serves all of them."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
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

from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.items import Items
from clip_align.evaluation.weights import swapped
from clip_align.perception.distances import DISTANCES
from clip_align.processes.ranks import Ranks


def resnet() -> nn.Module:
    """A ModifiedResNet of open_clip's, as small as it goes: BatchNorm everywhere, attention pooling."""
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
    text = {"context_length": 4, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    return CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)


class Shared(stubs.Pairs):
    """Pairs with one reference, declared: several batches need it, and so do several ranks."""

    def pairs(self) -> list[tuple[str, str]]:
        return [(self.ids[0][0], other) for other in self.ids[1]]

    def items(self, features: Any) -> Items:
        values = {name: -features.pairs.distance(name) for name in DISTANCES}
        return Items(values, np.arange(len(self.ids[1])) % 5)


@contextlib.contextmanager
def halved(model: nn.Module) -> Iterator[None]:
    """Another set of weights; its buffers differ between the ranks, as the model's do."""
    with swapped(model, {name: tensor.detach() / 2 for name, tensor in model.state_dict().items() if tensor.ndim}):
        yield


def evaluated_models() -> dict[str, EvaluatedModel]:
    return {
        "group_norm": stubs.evaluated_model(stubs.StubModel()),
        "batch_norm": stubs.evaluated_model(stubs.StubModel(norm=nn.BatchNorm2d)),
        "resnet": EvaluatedModel(resnet(), 32, (0.5,) * 3, (0.25,) * 3, stubs.Words()),
    }


def events(cache: Path, ranks: Ranks) -> dict[str, Any]:
    return {name: event(under_test, cache, ranks) for name, under_test in evaluated_models().items()}


def event(under_test: EvaluatedModel, cache: Path, ranks: Ranks) -> dict[str, Any]:
    """One event; on ranks above 0 the model's buffers differ, as under DDP."""
    torch.manual_seed(ranks.rank)
    for buffer in under_test.model.buffers():
        if ranks.rank and buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer))
    before = [b.clone() for b in under_test.model.buffers()]
    layers = ("projection", "all") if hasattr(under_test.model.visual, "attnpool") else ("projection",)
    callbacks = [stubs.Pairs(pairs=40), stubs.Named(), Shared(pairs=40, name="shared", layers=layers)]
    heard: list[Any] = []
    made, record = stubs.evaluator(
        callbacks, under_test, cache, ranks, batch_size=32, listeners=[lambda s, v: heard.append(dict(v))],
        weights={"raw": contextlib.nullcontext, "ema": partial(halved, under_test.model)},
    )  # fmt: skip
    scores = made.evaluate(0, [c.key for c in callbacks], contextlib.nullcontext)
    same = all(torch.equal(a, b) for a, b in zip(before, under_test.model.buffers(), strict=True))
    fields = record.scores() if ranks.rank == 0 else None
    items = record.items.get(("human/pairs", 0), {}).get("value", np.zeros(0)).tolist()
    shared = {name: values.tolist() for name, values in record.items.get(("human/shared", 0), {}).items()}
    return {
        "scores": dict(scores or {}),
        "heard": heard,
        "buffers_restored": same,
        "fields": fields,
        "items": items,
        "shared": shared,
    }


class FailsOn(stubs.StubModel):
    def __init__(self, rank: int, ranks: Ranks) -> None:
        super().__init__()
        self.fails = rank == ranks.rank

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        if self.fails:
            raise ValueError("out of memory, say")
        return super().encode_image(images)


class Wrong(stubs.Pairs):
    def items(self, features: Any) -> Any:
        raise KeyError("no such pair")


class NoItems(stubs.Pairs):
    def items(self, features: Any) -> Any:
        return np.zeros(3)


KINDS = {"items": Wrong, "contract": NoItems}


def failing(who: str, cache: Path, ranks: Ranks) -> Any:
    model = FailsOn(int(who), ranks) if who.isdigit() else stubs.StubModel()
    callbacks = [KINDS.get(who, stubs.Pairs)(pairs=40)]
    calls: list[int] = []

    def interrupted() -> bool:
        calls.append(1)
        return who == "interrupt" and len(calls) > 2

    made, record = stubs.evaluator(
        callbacks, stubs.evaluated_model(model), cache, ranks, batch_size=32, interrupted=interrupted
    )
    scores = made.evaluate(0, [callbacks[0].key], contextlib.nullcontext)
    return {"scores": scores, "calls": len(calls), "lines": len(record.lines)}


class Unmakeable(stubs.Pairs):
    def stimuli(self) -> Any:
        raise OSError("this machine has no images")


def unprepared(cache: Path, ranks: Ranks) -> Any:
    kind = Unmakeable if ranks.rank == 1 else stubs.Pairs
    stubs.evaluator([kind()], stubs.evaluated_model(), cache, ranks)


def main() -> None:
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for world in (1, 2, 3):
            ranks = gloo_ranks.on_ranks(world, partial(events, cache))
            for name in ("group_norm", "batch_norm", "resnet"):
                answers[f"{name}/{world}"] = [rank.get(name, rank) for rank in ranks]
        for who in ("0", "1", "items", "contract", "interrupt"):
            answers[f"fails/{who}"] = gloo_ranks.on_ranks(2, partial(failing, who, cache))
        answers["unprepared"] = gloo_ranks.on_ranks(2, partial(unprepared, cache))
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
