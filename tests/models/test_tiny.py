# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from clip_align.models.tiny import STRIDE, ConvTower, build_tiny
from clip_align.models.words import WordTokenizer
from clip_align.settings.config_check import TINY_STRIDE

WORDS = WordTokenizer(["a", "photo", "of", "star", "disc"], context=14)


def tiny(image_size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return build_tiny(embed_dim=64, image_size=image_size, vocabulary_size=WORDS.vocab_size, context=14)


@pytest.mark.parametrize("size", [8, 32, 48])
def test_both_towers_embed_into_one_space(size: int) -> None:
    model = tiny(size)
    assert model.encode_image(torch.rand(3, 3, size, size)).shape == (3, 64)
    assert model.encode_text(WORDS(["a photo of a star", "disc"])).shape == (2, 64)
    assert model.visual.image_size == (size, size)
    assert len(model.visual.image_mean) == len(model.visual.image_std) == 3


def test_the_check_of_sizes_knows_the_stride() -> None:
    assert TINY_STRIDE == STRIDE


def test_no_batch_norm_so_an_image_does_not_depend_on_its_batch() -> None:
    model = tiny()
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    images = torch.randn(6, 3, 32, 32)
    torch.testing.assert_close(model.encode_image(images)[:2], model.encode_image(images[:2]), rtol=1e-5, atol=1e-6)


def test_parameters_stay_below_one_million() -> None:
    assert sum(p.numel() for p in tiny().parameters()) < 1_000_000


def test_weights_follow_torchs_seed() -> None:
    first, second = tiny().state_dict(), tiny().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_parameter_has_a_gradient() -> None:
    model = tiny()
    image, text, scale = model(torch.randn(4, 3, 32, 32), WORDS(["a star", "disc", "photo", "of"]))
    nn.functional.cross_entropy(scale * image @ text.T, torch.arange(4)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_layers_are_those_of_the_forward_pass() -> None:
    model = tiny()
    images = torch.randn(2, 3, 32, 32)
    outputs = model.visual.layer_outputs(images)
    assert [tuple(x.shape[1:]) for x in outputs] == [(32, 16, 16), (64, 8, 8), (64, 8, 8), (128, 4, 4), (128, 4, 4)]
    through_open_clip = model.forward_intermediates(image=images, image_indices=[1, 4], normalize=False)
    assert torch.equal(through_open_clip["image_intermediates"][1], outputs[4])
    assert torch.equal(through_open_clip["image_features"], model.encode_image(images))
    assert len(model.visual.forward_intermediates(images, indices=2)["image_intermediates"]) == 2


def test_sizes_that_do_not_halve_three_times_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        ConvTower(64, 30)
