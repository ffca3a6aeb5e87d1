# SPDX-License-Identifier: Apache-2.0
"""Benchmarks adapt to the model under evaluation, and say why they are null for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import stubs
import torch

from clip_align.callbacks.base import ModelInfo, PerceptualCallback, Stimulus
from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.model_info import model_info
from clip_align.evaluation.prepare import images_per_event
from clip_align.models.words import WordTokenizer


def small_clip(layers: int = 2) -> torch.nn.Module:
    vision = {"image_size": 16, "layers": layers, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 4, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    return open_clip.model.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)  # type: ignore[no-any-return]


def test_a_model_is_described_by_size_layers_words_and_context() -> None:
    info = model_info(EvaluatedModel(small_clip(3), 16, (0.5,) * 3, (0.5,) * 3, WordTokenizer(["star", "a"], 7)))
    assert (info.image_size, info.layers, info.context_length) == (16, ("projection", 0, 1, 2, 3), 7)
    assert info.unknown(["a star", "an owl, a star"]) == ["an", "owl"]
    bare = model_info(EvaluatedModel(stubs.StubModel(), 16, (0.5,) * 3, (0.5,) * 3))
    assert (bare.layers, bare.context_length, bare.unknown(["anything"])) == (("projection",), None, [])


class Adapts(stubs.Pairs):
    """Half of its pairs for a small model, and a score whose label names it."""

    reason: str | None = None
    seen: list[ModelInfo]

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        self.seen = []

    def adapt(self, model: ModelInfo) -> str | None:
        self.seen.append(model)
        if model.image_size < 32:
            self.ids = [side[:4] for side in self.ids]
            self.scores = tuple(replace(score, chance=0.25, unit="4 pairs") for score in type(self).scores)
        self.layers = tuple(layer for layer in ("projection", 1, 2, 3) if layer in model.layers)
        return self.reason

    def stimuli(self) -> Iterable[Stimulus]:
        assert self.seen, "adapt comes first"
        return super().stimuli()


def test_what_adapt_chooses_is_what_is_encoded_scored_and_described(tmp_path: Path) -> None:
    callback = Adapts()
    made, record = stubs.evaluator([callback], stubs.evaluated_model(small_clip()), tmp_path)
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert {name for name in record.scores() if name.count("/") == 2} == {
        "human/pairs/srocc", "human/pairs/srocc@layer_1", "human/pairs/srocc@layer_2",
    }  # fmt: skip
    (about,) = (line for line in record.lines if line["kind"] == "benchmark")
    assert (about["n"], about["scores"][0]["chance"], about["scores"][0]["unit"]) == (4, 0.25, "4 pairs")
    assert images_per_event([callback], 16) == 8 * callback.tiles


def test_a_callback_adapts_once_to_a_model_and_anew_to_another(tmp_path: Path) -> None:
    callback, under_test = Adapts(), stubs.evaluated_model()
    for _ in range(2):
        stubs.evaluator([callback], under_test, tmp_path)
    assert len(callback.seen) == 1
    stubs.evaluator([callback], replace(under_test, tokenizer=stubs.Words()), tmp_path)
    assert len(callback.seen) == 2


def null(callback: PerceptualCallback, under_test: EvaluatedModel, cache: Path) -> str:
    """The reason why the callback is null; that it is reported once, and that nothing is encoded for it."""
    reported: list[str] = []
    made, record = stubs.evaluator([callback], under_test, cache, notify=reported.append)
    made.evaluate(0, [callback.key], contextlib.nullcontext)
    fields = record.scores()
    (reason,) = {value for name, value in fields.items() if name.endswith("/reason")}
    assert all(value is None for name, value in fields.items() if not name.endswith("/reason"))
    assert reported == [f"{callback.key}: null in this run: {reason}"]
    assert images_per_event([callback], 16) == 0
    assert record.items == {}
    return str(reason)


def test_a_returned_reason_makes_the_scores_null(tmp_path: Path) -> None:
    callback = Adapts()
    callback.reason = "its gratings are finer than 16 px can show"
    assert null(callback, stubs.evaluated_model(), tmp_path) == "its gratings are finer than 16 px can show"


def test_layers_of_the_benchmarks_own_that_a_model_lacks_make_it_null(tmp_path: Path) -> None:
    class Deep(stubs.Pairs):
        def __init__(self, **base: Any) -> None:
            super().__init__(**{"layers": (2, 12), **base})

    line = "layers: no layer 12; this model's image tower has layers 0 to 2"
    assert null(Deep(), stubs.evaluated_model(small_clip()), tmp_path) == line
    with pytest.raises(UserError, match=f"human/pairs: {line}"):  # the same typed by the user
        stubs.evaluator([Deep(layers=(12,))], stubs.evaluated_model(small_clip()), tmp_path)


def test_prompts_without_a_tokenizer_make_it_null(tmp_path: Path) -> None:
    under_test = replace(stubs.evaluated_model(), tokenizer=None)
    assert null(stubs.Named(), under_test, tmp_path) == "its prompts need a tokenizer; pass tokenizer=…"


def test_an_error_in_adapt_is_named(tmp_path: Path) -> None:
    class Wrong(stubs.Pairs):
        def adapt(self, model: ModelInfo) -> str | None:
            raise KeyError("px")

    with pytest.raises(UserError) as caught:
        stubs.evaluator([Wrong()], stubs.evaluated_model(), tmp_path)
    assert caught.value.lines == ("human/pairs: adapt() failed: KeyError: 'px'",)
