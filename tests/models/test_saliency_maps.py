# SPDX-License-Identifier: Apache-2.0
"""Maps of small towers of each kind, checked against the plain computation."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIP

from clip_align.errors import RunError
from clip_align.models.attention import attention_blocks, attention_weights
from clip_align.models.saliency_maps import attention_rollout, input_gradient, token_similarity
from clip_align.models.tiny import build_tiny

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


def transformer(**more: Any) -> Any:
    torch.manual_seed(0)
    vision = {"layers": 3, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8, **more}
    return CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT).eval()


def resnet() -> Any:
    torch.manual_seed(0)
    vision = {"layers": (1, 1, 1, 1), "width": 8, "head_width": 8, "image_size": 64, "patch_size": None}
    return CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", [transformer(), build_tiny(16, 32, 64, 8).eval()], ids=["transformer", "tiny"])
def test_looking_leaves_the_embedding_alone(model: Any, images: torch.Tensor) -> None:
    with torch.no_grad():
        before = model.encode_image(images)
        token_similarity(model, images)
        if attention_blocks(model):
            attention_rollout(model, images)
        assert torch.equal(model.encode_image(images), before)


@torch.no_grad()
def test_similarity_of_a_transformer_is_with_its_class_token(images: torch.Tensor) -> None:
    model = transformer()
    x = model.visual._embeds(images)
    for block in model.visual.transformer.resblocks[:2]:
        x = block(x)
    maps = token_similarity(model, images, 2)
    assert maps.shape == (3, 4, 4)
    expected = torch.cosine_similarity(x[:, 1:], x[:, :1], dim=-1).reshape(3, 4, 4)
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(token_similarity(model, images), token_similarity(model, images, 3))


@torch.no_grad()
def test_similarity_of_convolutions_is_with_the_mean_over_the_places(images: torch.Tensor) -> None:
    model: Any = build_tiny(16, 32, 64, 8).eval()
    last = model.visual.layer_outputs(images)[-1]  # [3, C, 4, 4]
    expected = torch.cosine_similarity(last, last.mean(dim=(2, 3), keepdim=True), dim=1)
    torch.testing.assert_close(token_similarity(model, images), expected)
    assert token_similarity(model, images, 1).shape == (3, 16, 16)


@torch.no_grad()
def test_similarity_of_a_resnet() -> None:
    maps = token_similarity(resnet(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert maps.shape == (2, 2, 2)
    assert maps.std() > 0


@torch.no_grad()
def test_attention_weights_are_those_of_the_heads(images: torch.Tensor) -> None:
    model, found = transformer(), {}
    attention_weights(model, images, found.__setitem__)
    assert [w.shape for w in found.values()] == [(3, 2, 17, 17)] * 3
    block = model.visual.transformer.resblocks[0]
    q, k, _ = torch.nn.functional.linear(
        block.ln_1(model.visual._embeds(images)), block.attn.in_proj_weight, block.attn.in_proj_bias
    ).chunk(3, dim=-1)
    q, k = (z.reshape(3, 17, 2, 16).transpose(1, 2) for z in (q, k))
    torch.testing.assert_close(found[1], (q @ k.transpose(-1, -2) / 4).softmax(dim=-1))


@torch.no_grad()
def test_rollout_of_abnar_and_zuidema(images: torch.Tensor) -> None:
    model, weights = transformer(), {}
    attention_weights(model, images, weights.__setitem__)
    product = torch.eye(17).expand(3, 17, 17)
    for number in (1, 2, 3):
        half = (weights[number].mean(dim=1) + torch.eye(17)) / 2
        product = half @ product
    expected = product[:, 0, 1:].reshape(3, 4, 4)
    maps = attention_rollout(model, images, dropped=0, largest_head=False)
    torch.testing.assert_close(maps, expected / expected.amax(dim=(1, 2), keepdim=True))


@torch.no_grad()
def test_rollout_of_one_block_keeps_the_class_tokens_row(images: torch.Tensor) -> None:
    """Its own entries are never dropped, so that one block's map is its row of the largest head."""
    model, weights = transformer(), {}
    attention_weights(model, images, weights.__setitem__)
    row = weights[1].amax(dim=1)[:, 0, 1:]
    expected = (row / row.amax(dim=1, keepdim=True)).reshape(3, 4, 4)
    torch.testing.assert_close(attention_rollout(model, images, 1), expected)
    assert not torch.allclose(attention_rollout(model, images), attention_rollout(model, images, dropped=0))
    assert attention_rollout(model, images).amax() == 1


def test_gradient_is_that_of_the_embeddings_length(images: torch.Tensor) -> None:
    model: Any = build_tiny(16, 32, 64, 8).eval()
    seen = images.clone().requires_grad_()
    maps = input_gradient(model, seen)
    assert maps.shape == (3, 32, 32)
    assert all(p.grad is None for p in model.parameters())
    place, step = (0, 1, 5, 7), 1e-3
    with torch.no_grad():
        up, down = images.clone(), images.clone()
        up[place], down[place] = up[place] + step, down[place] - step
        slope = (model.encode_image(up)[0].norm() - model.encode_image(down)[0].norm()) / (2 * step)
    (gradient,) = torch.autograd.grad(model.encode_image(seen).norm(dim=1).sum(), seen)
    assert gradient[place] == pytest.approx(slope.item(), rel=0.05)
    torch.testing.assert_close(maps, gradient.square().sum(dim=1))


def test_towers_without_attention_or_layers_are_refused(images: torch.Tensor) -> None:
    assert not attention_blocks(resnet())
    assert not attention_blocks(build_tiny(16, 32, 64, 8))
    with pytest.raises(RunError, match="CLIP's image tower gives out no attention weights"):
        attention_rollout(build_tiny(16, 32, 64, 8), images)
    with pytest.raises(RunError, match="blocks are numbered from 1, layer is 0"):
        attention_rollout(transformer(), images, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("ViT-B-32", 7), ("RN50", 7)])
def test_open_clips_own_towers(name: str, side: int) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert token_similarity(model, images).shape == (1, side, side)
        if name.startswith("ViT"):
            assert attention_rollout(model, images).shape == (1, side, side)
