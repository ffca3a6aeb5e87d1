# SPDX-License-Identifier: Apache-2.0
"""Tokens are left out in training and nowhere else, as open_clip leaves them out."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import PatchDropout as OpenClips
from torch import nn

from clip_align.config import Config, ModelConfig
from clip_align.errors import UserError
from clip_align.models.build import build_model
from clip_align.models.layers import layer_features
from clip_align.models.patch_dropout import PatchDropout, use_patch_dropout
from clip_align.settings.config_check import problems

TOKENS = torch.arange(3 * 50 * 2, dtype=torch.float32).reshape(3, 50, 2)  # 49 patches, all different


def vit(fraction: float) -> Any:
    torch.manual_seed(0)
    vision = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8, "patch_dropout": fraction}
    text = {"context_length": 5, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.model.CLIP(8, vision, text)
    assert use_patch_dropout(model, fraction) == bool(fraction)
    return model


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.75, 0.99])
def test_the_patches_of_open_clips_own_are_left_out(fraction: float) -> None:
    found, after = [], []
    for module in (PatchDropout(fraction), OpenClips(fraction)):
        torch.manual_seed(3)
        found.append(module(TOKENS))
        after.append(torch.get_rng_state())
    assert torch.equal(*found)
    assert torch.equal(*after)


@pytest.mark.parametrize(("fraction", "kept"), [(0.5, 24), (0.75, 12), (0.99, 1)])
def test_each_image_keeps_its_class_token_and_patches_of_its_own(fraction: float, kept: int) -> None:
    torch.manual_seed(3)
    found = PatchDropout(fraction)(TOKENS)
    assert found.shape == (3, 1 + kept, 2)
    assert torch.equal(found[:, 0], TOKENS[:, 0])
    places = [[TOKENS[n, 1:].tolist().index(token) for token in found[n, 1:].tolist()] for n in range(3)]
    assert [len(set(of_image)) for of_image in places] == [kept] * 3
    assert places[0] != places[1] != places[2]


def test_the_gradient_reaches_the_patches_that_stay() -> None:
    torch.manual_seed(3)
    tokens = TOKENS.clone().requires_grad_()
    PatchDropout(0.5)(tokens).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.unique().tolist() == [0.0, 1.0]
    assert tokens.grad.sum() == 3 * 25 * 2


def test_an_evaluation_sees_all_tokens_and_draws_nothing() -> None:
    dropping, plain = vit(0.5).eval(), vit(0.0).eval()
    images, before = torch.randn(2, 3, 16, 16), torch.get_rng_state()
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(dropping.encode_image(images), plain.encode_image(images))
        layers = [layer_features(model, images, [0, 1, 2]) for model in (dropping, plain)]
    assert all(torch.equal(layers[0][number], layers[1][number]) for number in (0, 1, 2))
    assert layers[0][2].shape == (2, 17, 16)
    assert torch.equal(torch.get_rng_state(), before)
    dropping.train()
    assert layer_features(dropping, images, [2])[2].shape == (2, 9, 16)


def test_it_is_a_key_of_the_model() -> None:
    built = build_model(ModelConfig("open_clip", "ViT-S-32-alt", 64, patch_dropout=0.5))
    dropped = [m for m in built.model.modules() if isinstance(m, PatchDropout)]
    assert [m.fraction for m in dropped] == [0.5]
    without = build_model(ModelConfig("open_clip", "ViT-S-32-alt", 64)).model
    assert isinstance(without.visual.patch_dropout, nn.Identity)  # type: ignore[union-attr]


def test_a_transformer_of_timms_drops_its_patches_itself() -> None:
    built = build_model(ModelConfig("open_clip", "EVA02-B-16", None, patch_dropout=0.75), device="meta")
    with torch.device("meta"):
        last = layer_features(built.model, torch.zeros(2, 3, 224, 224), [12])[12]
    assert last.shape == (2, 1 + 49, 768)


NOTHING = "image tower has no tokens to leave out; take a vision transformer, or model.patch_dropout=0"


@pytest.mark.parametrize("name", ["RN50", "convnext_tiny", "swin_base_patch4_window7_224"])
def test_towers_without_tokens_are_refused_when_they_are_built(name: str) -> None:
    with pytest.raises(UserError) as error:
        build_model(ModelConfig("open_clip", name, None, patch_dropout=0.5), device="meta")
    assert str(error.value) == f"model.patch_dropout: {name}'s {NOTHING}"


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (ModelConfig(patch_dropout=0.5), [f"model.patch_dropout: tiny's {NOTHING}"]),
        (ModelConfig("open_clip", "RN50", None, patch_dropout=0.5), [f"model.patch_dropout: RN50's {NOTHING}"]),
        (ModelConfig("open_clip", "ViT-B-32", None, patch_dropout=0.5), []),
    ],
)
def test_clips_own_towers_before_anything_is_built(model: ModelConfig, lines: list[str]) -> None:
    assert [str(problem) for problem in problems(Config(model=model))] == lines
