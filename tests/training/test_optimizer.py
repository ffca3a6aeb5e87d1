# SPDX-License-Identifier: Apache-2.0
"""Parameter groups and the learning rate over a run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from clip_align import open_clip_names
from clip_align.config import ModelConfig, OptimizerConfig
from clip_align.models.build import build_model
from clip_align.training import optimizer as optim


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Conv2d(3, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.class_embedding = nn.Parameter(torch.zeros(4))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
        self.logit_scale = nn.Parameter(torch.zeros(1, 1))  # even with two dimensions


def test_only_kernels_and_matrices_decay():
    model = Model()
    decayed, free = optim.parameter_groups(model, 0.3)
    assert [id(p) for p in decayed["params"]] == [id(model.visual.weight)]
    assert decayed["weight_decay"] == 0.3
    assert free["weight_decay"] == 0.0
    expected = {id(model.visual.bias), id(model.norm.weight), id(model.norm.bias), id(model.class_embedding)}
    assert {id(p) for p in free["params"]} == expected | {id(model.logit_scale)}


def excluded_by_open_clip(model: nn.Module) -> set[str]:
    """Parameters without decay by the rule of open_clip_train's main (3.3.0, line 335)."""
    words = ("bn", "ln", "bias", "logit_scale")
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return {name for name, p in named if p.ndim < 2 or any(word in name for word in words)}


def excluded_by_us(model: nn.Module) -> set[str]:
    free = {id(p) for p in optim.parameter_groups(model, 0.1)[1]["params"]}
    return {name for name, p in model.named_parameters() if id(p) in free}


ONE_OF_A_KIND = [
    "RN50", "ViT-B-32", "coca_ViT-B-32", "swin_base_patch4_window7_224", "convnext_tiny", "ViTamin-S",
    "MobileCLIP-S1", "vit_relpos_medium_patch16_cls_224", "EVA02-B-16",
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ONE_OF_A_KIND else pytest.mark.exhaustive)
        for name in open_clip_names.offline_names()
    ],
)
def test_decay_groups_are_open_clips(name):
    model = build_model(ModelConfig(kind="open_clip", name=name, image_size=None), device="meta").model
    assert excluded_by_us(model) == excluded_by_open_clip(model)


def test_the_models_that_stand_for_their_kind_are_there():
    assert set(ONE_OF_A_KIND) <= set(open_clip_names.offline_names())


def test_warm_up_rises_to_the_full_rate_and_cosine_ends_near_zero():
    factor = optim.schedule(OptimizerConfig(warmup_steps=10), steps=110)
    assert [factor(i) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert factor(10) == 1.0
    assert factor(60) == pytest.approx(0.5)
    assert factor(109) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert 0 < factor(109) < 1e-3


def test_constant_schedule_stays():
    factor = optim.schedule(OptimizerConfig(warmup_steps=2, schedule="constant"), steps=50)
    assert [factor(i) for i in (0, 1, 2, 49, 500)] == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_no_warm_up():
    assert optim.schedule(OptimizerConfig(warmup_steps=0), steps=5)(0) == 1.0


def test_scheduler_state_holds_no_function():
    optimizer = optim.adamw(Model(), OptimizerConfig(), fused=True)
    state = optim.scheduler(optimizer, OptimizerConfig(), 100).state_dict()
    assert state["lr_lambdas"] == [None, None]
