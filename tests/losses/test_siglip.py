# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from clip_align.losses.siglip import SigLIP
from clip_align.training.optimizer import parameter_groups


def test_value_is_that_of_open_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (
        functional.normalize(torch.randn(7, 8, generator=generator, dtype=torch.float64), dim=-1) for _ in range(2)
    )
    scale, loss = torch.tensor(1.5, dtype=torch.float64), SigLIP(initial_bias=-2.5, chunk=3)
    expected = open_clip.loss.SigLipLoss()(image, text, scale.exp(), torch.tensor(-2.5, dtype=torch.float64))
    assert float(loss(3 * image, 0.1 * text, scale).detach()) == pytest.approx(float(expected), abs=1e-13)


def test_it_begins_as_in_the_paper() -> None:
    """Scale 10 and bias -10; unrelated embeddings lose about 10 an image, all of it for the pairs that belong."""
    loss = SigLIP()
    assert loss.initial_logit_scale == math.log(10)
    assert float(loss.logit_bias) == -10.0
    orthogonal = torch.eye(64)
    value = float(loss(orthogonal[:32], orthogonal[32:], torch.tensor(math.log(10))))
    assert value == pytest.approx(10 + 32 * math.log1p(math.exp(-10)), rel=1e-6)


def test_certain_margins_are_exact() -> None:
    """No threshold beyond which the logistic function counts as linear."""
    one = torch.ones(1, 4, dtype=torch.float64)
    loss = SigLIP(initial_bias=0.0).double()
    assert float(loss(one, one, torch.tensor(math.log(30.0), dtype=torch.float64))) == pytest.approx(
        math.exp(-30), rel=1e-9
    )
    assert float(loss(one, -one, torch.tensor(math.log(30.0), dtype=torch.float64))) == pytest.approx(30.0, rel=1e-15)


def test_the_bias_is_trained_without_decay() -> None:
    module = nn.ModuleDict({"model": nn.Linear(2, 2), "loss": SigLIP()})
    decayed, free = parameter_groups(module, 0.1)
    bias = module["loss"].logit_bias
    assert any(p is bias for p in free["params"])
    assert not any(p is bias for p in decayed["params"])
