# SPDX-License-Identifier: Apache-2.0
"""Steps of training and events leave out what is behind the ends of texts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import open_clip
import pytest
import stubs
import torch
from open_clip.transformer import Transformer

from clip_align.config import OptimizerConfig
from clip_align.models.tiny import build_tiny
from clip_align.models.words import WordTokenizer
from clip_align.training.clip_module import CLIPModule
from clip_align.training.gradient_cache import MICRO_BATCHES, MicroBatches

VISION = {"image_size": 4, "patch_size": 2, "width": 16, "layers": 1, "head_width": 8}
TEXT = {"context_length": 12, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the texts that towers are called with; images have five."""
    seen: list[int] = []
    original = Transformer.forward

    def forward(tower: Transformer, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> Any:
        if attn_mask is not None:
            seen.append(x.shape[1])
            assert attn_mask.shape == (x.shape[1], x.shape[1])
        return original(tower, x, attn_mask=attn_mask)

    monkeypatch.setattr(Transformer, "forward", forward)
    return seen


def batch(*filled: int) -> dict[str, Any]:
    texts = torch.zeros(len(filled), 12, dtype=torch.int64)
    for row, count in zip(texts, filled, strict=True):
        row[:count] = torch.arange(1, count + 1)
        row[count - 1] = 29
    images = torch.randint(0, 256, (len(filled), 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return {"image": images.to(torch.uint8), "text": texts, "keys": [], "repeated": []}


def made() -> CLIPModule:
    torch.manual_seed(0)
    model = open_clip.model.CLIP(8, VISION, TEXT).double()
    module = CLIPModule(model, (0.5,) * 3, (0.5,) * 3, OptimizerConfig(), steps=2)
    return module.double()


def test_a_step_has_the_loss_and_the_gradients_of_all_places(places: list[int]) -> None:
    whole, short, given = made(), made(), batch(5, 3, 4, 12)
    expected = whole.training_step(given, 0)
    expected.backward()
    found = short.training_step(short.transfer_batch_to_device(given, torch.device("cpu"), 0), 0)
    found.backward()
    assert places == [12, 3, 4, 5, 12]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [{name: p.grad for name, p in module.named_parameters()} for module in (short, whole)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_each_micro_batch_is_as_long_as_its_own_texts(places: list[int]) -> None:
    module = made()
    parts = MicroBatches([batch(5, 6), batch(3, 3)])
    given = module.transfer_batch_to_device({MICRO_BATCHES: parts, "keys": []}, torch.device("cpu"), 0)
    module.training_step(given, 0)
    assert places == [6, 3, 6, 3]  # without a graph, and with it


def test_prompts_of_an_event_are_as_long_as_they_are(places: list[int], tmp_path: Path) -> None:
    prompts = stubs.Named().prompts().values()
    words = WordTokenizer.from_captions([text for of_class in prompts for text in of_class], 50, 14)
    named = stubs.Named(tokenizer=words)
    model = build_tiny(12, stubs.SIZE, words.vocab_size, 14)
    evaluator, _ = stubs.evaluator([named], stubs.evaluated_model(model, words), tmp_path)
    evaluator.evaluate(0, [named.key], contextlib.nullcontext)
    assert places == [5]  # start, the disc here, end
