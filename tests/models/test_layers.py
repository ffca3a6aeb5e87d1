# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from clip_align.config import ModelConfig
from clip_align.errors import RunError
from clip_align.models.build import build_model
from clip_align.models.layers import encode_layers, layer_count, layer_features, patch_size, prefix_tokens


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def built(name: str, size: int | None) -> nn.Module:
    return build_model(ModelConfig(kind="open_clip", name=name, image_size=size)).model.eval()


def by_open_clip(model: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The layers from 1 as open_clip and timm give them out, as tokens with those before the patches first."""
    visual = model.visual
    form = {"output_fmt": "NLC", "output_extra_tokens": True} if prefix_tokens(model) else {"output_fmt": "NCHW"}
    found = visual.forward_intermediates(pixels, indices=list(range(layer_count(model) or 0)), **form)  # type: ignore[operator]
    first = found.get("image_intermediates_prefix")
    if first is not None:
        return [torch.cat(parts, dim=1) for parts in zip(first, found["image_intermediates"], strict=True)]
    return [x.flatten(2).transpose(1, 2) for x in found["image_intermediates"]]


@pytest.mark.parametrize(
    ("name", "size", "count", "tokens", "width"),
    [
        ("ViT-S-32-alt", 64, 12, 1 + 2 * 2, 384),
        ("RN50", 64, 5, 2 * 2, 2048),
        ("convnext_tiny", 64, 4, 2 * 2, 768),
        ("MobileCLIP-S1", 64, 4, 2 * 2, 512),
        ("vit_relpos_medium_patch16_cls_224", 64, 12, 1 + 4 * 4, 512),
    ],
)
def test_layers_are_those_of_open_clip_to_the_bit(name: str, size: int, count: int, tokens: int, width: int) -> None:
    model = built(name, size)
    with torch.no_grad():
        found = layer_features(model, images(size), range(count + 1))
        expected = by_open_clip(model, images(size))
    assert layer_count(model) == count == len(expected)
    assert found[count].shape == (2, tokens, width)
    assert all(torch.equal(found[k + 1], layer) for k, layer in enumerate(expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PE-Core-T-16-384", "ViTamin-S", "EVA02-B-16", "swin_base_patch4_window7_224"])
def test_layers_of_towers_of_one_size_too(name: str) -> None:
    model = built(name, None)
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    with torch.no_grad():
        found = layer_features(model, images(int(size)), range((layer_count(model) or 0) + 1))  # type: ignore[call-overload]
        assert all(torch.equal(found[k + 1], layer) for k, layer in enumerate(by_open_clip(model, images(int(size)))))  # type: ignore[call-overload]


def test_layer_0_is_what_enters_the_first_block() -> None:
    vit, tiny, resnet = (
        built("ViT-S-32-alt", 64),
        build_model(ModelConfig(image_size=16), ["a"]).model,
        built("RN50", 64),
    )
    seen: list[torch.Tensor] = []
    vit.visual.ln_pre.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        assert torch.equal(layer_features(vit, images(64), [0])[0], seen[0])
        rows = images(16).permute(0, 2, 3, 1).flatten(1, 2)  # the image itself, row by row
        assert torch.equal(layer_features(tiny, images(16), [0])[0], rows)
        assert layer_features(resnet, images(64), [0])[0].shape == (2, 64 * 64, 3)


def test_maps_are_tokens_row_by_row() -> None:
    model = build_model(ModelConfig(image_size=16), ["a"]).model.eval()
    with torch.no_grad():
        found = layer_features(model, images(16), [1, 5])
        maps = model.visual.layer_outputs(images(16))
    assert list(found) == [1, 5]
    assert torch.equal(found[1][:, 8 * 2 + 3], maps[0][:, :, 2, 3])
    assert torch.equal(found[5], maps[4].flatten(2).transpose(1, 2))
    assert layer_count(model) == 5


def test_layers_come_one_by_one_beside_the_embedding_and_leave_no_hook() -> None:
    model = built("ViT-S-32-alt", 64)
    order: list[int] = []
    with torch.no_grad():
        embedding = encode_layers(model, images(64), [12, 0, 3], lambda number, _: order.append(number))
        assert torch.equal(embedding, model.encode_image(images(64)))
    assert order == [0, 3, 12]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_no_hook_is_left_after_an_error() -> None:
    model = build_model(ModelConfig(image_size=16), ["a"]).model.eval()

    def fails(number: int, tokens: torch.Tensor) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        encode_layers(model, images(16), [0, 2], fails)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("number", [6, -1])
def test_a_layer_there_is_not(number: int) -> None:
    model = build_model(ModelConfig(image_size=16), ["a"]).model
    with pytest.raises(RunError, match=r"no layer .*: CLIP's image tower has layers 0 to 5"):
        layer_features(model, torch.zeros(1, 3, 16, 16), [number])


def test_a_model_without_layers() -> None:
    assert layer_count(torch.nn.Linear(1, 1)) is None
    with pytest.raises(RunError, match="no accessible layers"):
        layer_features(torch.nn.Linear(1, 1), torch.zeros(1, 3, 8, 8), [1])


@pytest.mark.parametrize(
    ("name", "size", "patch"),
    [("ViT-S-32-alt", 64, 32), ("vit_relpos_medium_patch16_cls_224", 64, 16), ("RN50", 64, None)],
)
def test_patches_are_known_of_vision_transformers(name: str, size: int, patch: int | None) -> None:
    assert patch_size(built(name, size)) == patch
    assert patch_size(nn.Linear(1, 1)) is None
