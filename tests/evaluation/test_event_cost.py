# SPDX-License-Identifier: Apache-2.0
"""What an event costs beside bare forward passes: the same images and texts, as often, timed in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from stubs import Pairs

from clip_align.evaluation.event_cost import EventCost, event_cost
from clip_align.testing.stubs import StubModel, evaluated_model, evaluator


class Counting(StubModel):
    """Keeps the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        return super().encode_image(images)


def ticking() -> Iterator[float]:
    """Seconds of a clock that is asked before and after each part: forward passes take 2, events 2.2."""
    now = 0.0
    for number in count():
        yield now
        now += (2.0, 0.0, 2.2, 0.0)[number % 4]


def test_bare_passes_encode_the_distinct_images_in_the_events_batches(tmp_path: Path) -> None:
    model = Counting()
    callbacks = [Pairs(name=name) for name in ("one", "same")]
    made, record = evaluator(callbacks, evaluated_model(model), tmp_path, batch_size=6)
    due = [callback.key for callback in callbacks]
    clock = ticking()
    cost = event_cost(made, due, repeats=2, clock=lambda: next(clock))
    # two benchmarks of the same 16 images, in tiles: both encode each once, the bare passes too
    tiles = made.passes(due)[0].union.request.rows.shape[0]
    assert (cost.images, cost.texts) == (tiles, 0)
    bare = [6] * (tiles // 6) + [tiles % 6] * bool(tiles % 6)
    assert model.batches == 2 * 3 * bare
    assert cost.ratios == pytest.approx([1.1, 1.1])
    assert len([line for line in record.lines if line["kind"] == "evaluation"]) == 3


def test_its_line_has_medians_and_the_range_of_the_ratios() -> None:
    cost = EventCost(1200, 3, (2.0, 1.0, 4.0), (2.2, 1.2, 4.0))
    assert str(cost) == (
        "1,200 images and 3 texts: event 2.20 s, bare forward passes 2.00 s, ratio 1.100 [1.000, 1.200] over 3 pairs"
    )
