# SPDX-License-Identifier: Apache-2.0
"""What holds for every loss, with its default options and with chunks."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from clip_align.kinds import LOSSES

CASES = [(name, options) for name in LOSSES.names() for options in ({}, {"chunk": 4}, {"chunk": 1}, {"chunk": 99})]
every = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def pairs(count: int, width: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2)]


@every
def test_copies_are_left_out(name: str, options: dict[str, Any]) -> None:
    """Value and gradients are those of the batch without them."""
    loss = LOSSES.build(name, options)
    image, text = pairs(6)
    image[4], text[4] = image[1], text[1]
    copies = torch.tensor([False] * 4 + [True, False])
    found = []
    for rows, mask in ((torch.arange(6), copies), (torch.tensor([0, 1, 2, 3, 5]), None)):
        leaves = [part.clone().requires_grad_() for part in (image, text)]
        scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        loss.zero_grad()
        value = loss(leaves[0][rows], leaves[1][rows], scale, copies=mask)
        value.backward()
        found.append(
            [value.detach(), scale.grad, *(leaf.grad for leaf in leaves), *(p.grad for p in loss.parameters())]
        )
    for masked, absent in zip(*found, strict=True):
        torch.testing.assert_close(masked, absent, rtol=0, atol=1e-13)
    counted = loss(image, text, torch.tensor(2.0, dtype=torch.float64))
    assert float(counted.detach()) > float(found[1][0])  # a false negative


@every
def test_gradient_is_that_of_the_value(name: str, options: dict[str, Any]) -> None:
    """By finite differences, with a factor on the loss, as a gradient scaler puts it there."""
    loss = LOSSES.build(name, options).double()
    leaves = [part.requires_grad_() for part in (*pairs(6, 3), torch.tensor(0.5, dtype=torch.float64))]
    assert torch.autograd.gradcheck(lambda *given: 7.0 * loss(*given), leaves)
    for parameter in loss.parameters():
        parameter.data.fill_(-0.5)
        (exact,) = torch.autograd.grad(loss(*leaves), [parameter])
        step, ends = 1e-6, []
        for sign in (1, -1):
            parameter.data.fill_(-0.5 + sign * step)
            ends.append(float(loss(*leaves).detach()))
        assert float(exact) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-7)


@every
def test_without_gradients_the_value_is_the_same(name: str, options: dict[str, Any]) -> None:
    loss, (image, text), scale = LOSSES.build(name, options), pairs(6), torch.tensor(2.0)
    value = loss(image.requires_grad_(), text, scale)
    with torch.no_grad():
        assert torch.equal(loss(image, text, scale), value)


@every
def test_autocast_leaves_the_loss_in_float32(name: str, options: dict[str, Any]) -> None:
    loss = LOSSES.build(name, options)
    image, text = (part.bfloat16() for part in pairs(6))
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(image, text, torch.tensor(2.0))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(image.float(), text.float(), torch.tensor(2.0)))


@every
def test_an_embedding_that_is_no_number_makes_the_loss_none(name: str, options: dict[str, Any]) -> None:
    image, text = pairs(6)
    image[2, 0] = torch.nan
    assert not torch.isfinite(LOSSES.build(name, options)(image, text, torch.tensor(2.0)))


@every
def test_images_and_texts_must_pair(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"differ in shape: \(3, 4\), \(4, 4\)"):
        LOSSES.build(name, options)(torch.ones(3, 4), torch.ones(4, 4), torch.tensor(1.0))


@pytest.mark.parametrize("name", LOSSES.names())
def test_chunk_is_an_option_of_every_loss(name: str) -> None:
    assert inspect.signature(LOSSES.load(name)).parameters["chunk"].default is None
