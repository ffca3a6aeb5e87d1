# SPDX-License-Identifier: Apache-2.0
"""Blocks that run again give the same values and gradients, and keep less in between."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from clip_align.config import Config, ModelConfig, TrainerConfig
from clip_align.errors import UserError
from clip_align.models.activation_checkpointing import checkpoint_activations
from clip_align.models.attention import attention_weights
from clip_align.models.build import build_model
from clip_align.models.layers import layer_features
from clip_align.models.saliency_maps import input_gradient
from clip_align.settings.config_check import problems

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
TEXTS = torch.randint(1, 30, (4, 5), generator=torch.Generator().manual_seed(2))


def both() -> tuple[Any, Any]:
    """The same weights without and with it."""
    torch.manual_seed(0)
    vision = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8, "patch_dropout": 0.25}
    text = {"context_length": 5, "vocab_size": 30, "width": 16, "heads": 2, "layers": 3}
    plain = open_clip.model.CLIP(8, vision, text)
    again = copy.deepcopy(plain)
    checkpoint_activations(again, "ViT")
    return plain, again


def stepped(model: Any) -> tuple[Tensor, dict[str, Tensor], int]:
    """Value, gradients, and numbers that autograd keeps."""
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = (model.encode_image(IMAGES) * model.encode_text(TEXTS)).sum() * model.logit_scale
    value.backward()
    return value.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kept


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_values_and_gradients_are_bit_equal_and_less_is_kept(precision: torch.dtype | None) -> None:
    found = []
    for model in both():
        with torch.autocast("cpu", precision, enabled=precision is not None):
            found.append(stepped(model))
    (value, gradients, kept), (value_again, gradients_again, kept_again) = found
    assert torch.equal(value, value_again)
    assert gradients.keys() == gradients_again.keys()
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)
    assert kept_again < kept / 2


def test_benchmarks_read_the_same() -> None:
    plain, again = (model.eval() for model in both())
    with torch.no_grad():
        layers = [layer_features(model, IMAGES, [0, 2, 3]) for model in (plain, again)]
        weights: list[list[Tensor]] = [[], []]
        for model, of_model in zip((plain, again), weights, strict=True):
            attention_weights(model, IMAGES, lambda number, found, of=of_model: of.append(found))  # type: ignore[misc]
    assert all(torch.equal(layers[0][number], layers[1][number]) for number in layers[0])
    assert len(weights[0]) == len(weights[1]) == 3
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    images = IMAGES.clone().requires_grad_()
    assert torch.equal(input_gradient(plain, images), input_gradient(again, images))


def test_towers_of_timm_too() -> None:
    built = build_model(ModelConfig("open_clip", "vit_medium_patch16_gap_256", None), device="meta")
    checkpoint_activations(built.model, built.name)
    assert built.model.visual.trunk.grad_checkpointing  # type: ignore[union-attr]
    assert built.model.transformer.grad_checkpointing  # type: ignore[union-attr]


NOTHING = "image tower has no blocks that it could run again; leave it false"


@pytest.mark.parametrize("name", ["RN50", "tiny"])
def test_towers_without_blocks_are_refused(name: str) -> None:
    line = f"trainer.activation_checkpointing: true, but {name}'s {NOTHING}"
    model = ModelConfig() if name == "tiny" else ModelConfig("open_clip", name, None)
    with pytest.raises(UserError) as error:
        checkpoint_activations(build_model(model, ["a"], device="meta").model, name)
    assert str(error.value) == line
    config = Config(model=model, trainer=TrainerConfig(activation_checkpointing=True))
    assert [str(problem) for problem in problems(config)] == [line]


def test_a_tower_of_timms_that_refuses_is_refused() -> None:
    class Trunk(torch.nn.Module):
        def set_grad_checkpointing(self, enable: bool = True) -> None:
            assert not enable, "gradient checkpointing not supported"

    model = torch.nn.Module()
    model.visual = torch.nn.Module()
    model.visual.trunk = Trunk()
    with pytest.raises(UserError, match=r"^trainer\.activation_checkpointing: true, but x's image tower has no blocks"):
        checkpoint_activations(model, "x")
