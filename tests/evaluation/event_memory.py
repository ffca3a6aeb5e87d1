# SPDX-License-Identifier: Apache-2.0
"""Memory of one event at full size: TID2013's 3,000 pairs, all layers of a model with the shape of ViT-L/14.

    python tests/evaluation/event_memory.py [references] [batch size] [tokens]

The model has the shapes of ViT-L/14 (24 blocks, 257 tokens of width 1,024) and next to none of its compute. Each
reference has 24 x 5 distorted versions; 25 of them, TID2013's number, take some 20 minutes of 2 cores that do nothing
else, nearly all in float64 sums over tokens. Fewer tokens make a batch smaller and nothing else. Printed as JSON, in
MB: the peak over the memory before the event, of the process's own (anonymous) and of mapped files (cached images,
which the system can drop), one layer's activations of a batch, and what the pairs are reduced to.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from clip_align.callbacks.toolkit import Features, Items, PerceptualCallback, Score, Stimulus, over_items, srocc
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.testing import stubs
from clip_align.testing.random_images import random_image

BLOCKS, TOKENS, WIDTH, EMBEDDING = 24, 257, 1024, 768
SIZE, PATCH = 224, 14
CONDITIONS = 24 * 5
MB = 1e6


class Shift(nn.Module):
    """In place of a block: another value for every feature."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(WIDTH, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, width] to the same shape."""
        return x * 1.01 + self.shift


class Shapes(nn.Module):
    """The shapes of ViT-L/14's image tower: patches as they are, 24 shifts, a projection of the class token."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.patches = tokens - 1
        generator = torch.Generator().manual_seed(0)
        self.visual = nn.Module()
        self.visual.image_size = SIZE  # type: ignore[assignment]
        self.visual.transformer = nn.Module()
        self.visual.transformer.resblocks = nn.ModuleList(Shift(generator) for _ in range(BLOCKS))
        self.register_buffer("order", torch.randint(3 * PATCH**2, (WIDTH,), generator=generator))
        self.projection = nn.Linear(WIDTH, EMBEDDING)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, 768] of images [N, 3, 224, 224]."""
        patches = nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)  # [N, 256, 588]
        x = patches[:, : self.patches, self.order]  # [N, 256, 1024]
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # [N, 257, 1024]
        for block in self.visual.transformer.resblocks:  # type: ignore[union-attr]
            x = block(x)
        embedding: torch.Tensor = self.projection(x[:, 0])
        return embedding


class ManyPairs(PerceptualCallback):
    """Pairs of random images with made-up opinions: as many references as wanted, 120 conditions each."""

    family: ClassVar[str] = "human"
    scores = (Score("srocc", "SROCC", over_items(srocc), direction="higher = more alike", unit="references"),)

    def __init__(self, references: int = 25, **base: object) -> None:
        super().__init__(name="many_pairs", layers=("projection", "all"), view="squash", **base)  # type: ignore[arg-type]
        self.numbers = [(r, c) for r in range(references) for c in range(CONDITIONS)]

    def stimuli(self) -> Iterator[Stimulus]:
        """References, then their distorted versions."""
        names = [*dict.fromkeys(f"many/{r}" for r, _ in self.numbers), *(f"many/{r}_{c}" for r, c in self.numbers)]
        for name in names:
            yield Stimulus(name, partial(random_image, name, SIZE, SIZE))

    def pairs(self) -> list[tuple[str, str]]:
        """Each reference with its versions."""
        return [(f"many/{r}", f"many/{r}_{c}") for r, c in self.numbers]

    def items(self, features: Features) -> Items:
        """One for each pair."""
        reference, condition = np.array(self.numbers).T
        opinion = np.random.default_rng(0).normal(size=len(reference))
        distance = features.pairs.distance("normalised_euclidean")
        return Items(-distance, opinion, None, {"reference": reference}, {"condition": condition})


def memory() -> tuple[float, float]:
    """Anonymous and file-backed resident memory of this process in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, files = (float(lines[name].split()[0]) * 1024 / MB for name in ("RssAnon", "RssFile"))
    return own, files


@contextlib.contextmanager
def peak() -> Iterator[SimpleNamespace]:
    """``own`` and ``files``: peaks in MB over the values at the beginning, sampled every 5 ms."""
    start, found, done = memory(), SimpleNamespace(own=0.0, files=0.0), threading.Event()

    def sample() -> None:
        while not done.wait(0.005):
            own, files = memory()
            found.own, found.files = max(found.own, own - start[0]), max(found.files, files - start[1])

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def measured(references: int, batch_size: int, tokens: int, folder: Path) -> dict[str, float]:
    """Peaks of one event, and the sizes that they consist of, in MB.

    Args:
        references: each with 120 pairs.
        batch_size: images per forward pass.
        tokens: of a layer, at most 257.
        folder: for the images.
    """
    model = EvaluatedModel(Shapes(tokens), SIZE, (0.5,) * 3, (0.25,) * 3)
    callback = ManyPairs(references)
    made, record = stubs.evaluator([callback], model, folder, batch_size=batch_size)
    made.evaluate(0, [], contextlib.nullcontext)  # what the first use of anything takes
    warm_up = torch.zeros(2, 3, SIZE, SIZE)
    with torch.no_grad():
        model.model.encode_image(warm_up)  # type: ignore[operator]
    began = time.monotonic()
    with peak() as found:
        made.evaluate(1, [callback.key], contextlib.nullcontext)
    scores = [
        value for name, value in record.scores(1).items() if "srocc" in name and "/" not in name.split("srocc")[1]
    ]
    assert len(scores) == BLOCKS + 2
    assert all(isinstance(value, float) for value in scores)
    pairs = len(callback.numbers)
    return {
        "pairs": pairs,
        "tokens": tokens,
        "layers": len(scores),
        "seconds": round(time.monotonic() - began),
        "peak_own_mb": round(found.own),
        "peak_files_mb": round(found.files),
        "layer_of_a_batch_mb": round(batch_size * tokens * WIDTH * 4 / MB),
        "reduced_pairs_mb": round(pairs * ((BLOCKS + 1) * WIDTH * 4 + EMBEDDING * 8) / MB),
        "all_features_mb": round(pairs * (BLOCKS + 1) * tokens * WIDTH * 4 / MB),
    }


def main() -> None:
    """Measure and print."""
    defaults = (25, 32, TOKENS)
    references, batch_size, tokens = (*map(int, sys.argv[1:]), *defaults[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(references, batch_size, tokens, Path(folder))))


if __name__ == "__main__":
    main()
