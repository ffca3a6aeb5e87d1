# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from clip_align.config import ModelConfig
from clip_align.errors import RunError
from clip_align.models.build import build_model
from clip_align.models.layers import block_features, layer_count


def test_blocks_of_a_transformer_are_what_its_modules_put_out() -> None:
    model = build_model(ModelConfig(kind="open_clip", name="ViT-S-32-alt", image_size=64)).model.eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen: dict[int, torch.Tensor] = {}
    for number, block in enumerate(model.visual.transformer.resblocks, 1):
        block.register_forward_hook(lambda _, __, output, number=number: seen.update({number: output}))
    with torch.no_grad():
        found = block_features(model, images, [6, 1, 12])
    assert list(found) == [6, 1, 12]
    for number, features in found.items():
        assert features.shape == (2, 5 * 384)  # class token and 2 x 2 patches
        assert torch.equal(features, seen[number].flatten(1))


def test_blocks_of_the_tiny_model() -> None:
    model = build_model(ModelConfig(image_size=16), ["a"]).model.eval()
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = block_features(model, images, [1, 5])
        assert torch.equal(found[5], model.visual.layer_outputs(images)[4].flatten(1))
    assert layer_count(model) == 5


@pytest.mark.parametrize(
    ("name", "size", "count", "first", "last"),
    [
        ("RN50", 224, 5, 64 * 56 * 56, 2048 * 7 * 7),
        ("convnext_tiny", 224, 4, 96 * 56 * 56, 768 * 7 * 7),
        ("vit_medium_patch16_gap_256", 256, 12, 512 * 16 * 16, 512 * 16 * 16),  # has no class token
    ],
)
def test_shapes_of_other_towers(name: str, size: int, count: int, first: int, last: int) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(kind="open_clip", name=name, image_size=None), device="meta").model.eval()
        found = block_features(model, torch.zeros(2, 3, size, size), [1, count])
    assert layer_count(model) == count
    assert found[1].shape == (2, first)
    assert found[count].shape == (2, last)


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_block_there_is_not(number: int) -> None:
    model = build_model(ModelConfig(image_size=16), ["a"]).model
    with pytest.raises(RunError, match=r"no block .*: CLIP's image tower has blocks 1 to 5"):
        block_features(model, torch.zeros(1, 3, 16, 16), [number])


def test_a_model_without_blocks() -> None:
    assert layer_count(torch.nn.Linear(1, 1)) is None
    with pytest.raises(RunError, match="no blocks that it gives out"):
        block_features(torch.nn.Linear(1, 1), torch.zeros(1, 3, 8, 8), [1])
