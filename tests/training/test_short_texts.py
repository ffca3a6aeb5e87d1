# SPDX-License-Identifier: Apache-2.0
"""Steps of training and events leave out what is behind the ends of texts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gloo_ranks
import pytest
import stubs
import torch
from gradient_cache_rank import gradients
from open_clip.transformer import Transformer
from short_texts_rank import FILLED, batch, module

from clip_align.models.tiny import build_tiny
from clip_align.models.words import WordTokenizer
from clip_align.training.gradient_cache import MICRO_BATCHES, MicroBatches


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


def batches_together(*batches: dict[str, Any]) -> dict[str, Any]:
    images, texts = (torch.cat([one[name] for one in batches]) for name in ("image", "text"))
    return {"image": images, "text": texts, "keys": []}


def test_a_step_has_the_loss_and_the_gradients_of_all_places(places: list[int]) -> None:
    whole, short, given = module(), module(), batch(5, 3, 4, 12)
    expected = whole.training_step(given, 0)
    expected.backward()
    found = short.training_step(short.transfer_batch_to_device(given, torch.device("cpu"), 0), 0)
    found.backward()
    assert places == [12, 3, 4, 5, 12]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(short), gradients(whole), rtol=0, atol=1e-12)


def test_each_micro_batch_is_as_long_as_its_own_texts(places: list[int]) -> None:
    own = module()
    parts = MicroBatches([batch(5, 6), batch(3, 3)])
    given = own.transfer_batch_to_device({MICRO_BATCHES: parts, "keys": []}, torch.device("cpu"), 0)
    own.training_step(given, 0)
    assert places == [6, 3, 6, 3]  # without a graph, and with it


def test_prompts_of_an_event_are_as_long_as_they_are(places: list[int], tmp_path: Path) -> None:
    prompts = stubs.Named().prompts().values()
    words = WordTokenizer.from_captions([text for of_class in prompts for text in of_class], 50, 14)
    named = stubs.Named(tokenizer=words)
    model = build_tiny(12, stubs.SIZE, words.vocab_size, 14)
    evaluator, _ = stubs.evaluator([named], stubs.evaluated_model(model, words), tmp_path)
    evaluator.evaluate(0, [named.key], contextlib.nullcontext)
    assert places == [5]  # start, the disc here, end


def test_each_rank_groups_its_own_texts(tmp_path: Path) -> None:
    """With DDP's static graph, though parameters are used once in a step and four times in another."""
    assert gloo_ranks.run(Path(__file__).with_name("short_texts_rank.py"), tmp_path) == [None, None]
    for number, filled in enumerate(FILLED):
        whole = module()
        whole.training_step(batches_together(*(batch(*of_rank) for of_rank in filled)), 0).backward()
        found = {name.removeprefix("module."): g for name, g in torch.load(tmp_path / f"{number}.pt").items()}
        torch.testing.assert_close(found, gradients(whole), rtol=0, atol=1e-12)
