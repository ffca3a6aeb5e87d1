# SPDX-License-Identifier: Apache-2.0
"""The sigmoid loss of SigLIP (Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from clip_align.losses.base import Loss
from clip_align.losses.copies import are_copies, normalized_and_marked
from clip_align.losses.gather import check_equal_shapes
from clip_align.losses.ring import pass_on
from clip_align.structure import Range


class _Layout(NamedTuple):
    """What an autograd function needs beside tensors: this rank, the ranks, rows at a time, whether to mask copies."""

    rank: int
    world: int
    chunk: int
    masked: bool


def siglip(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    rank: int = 0,
    world: int = 1,
    copies: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sum over all pairs of an image and a text of the logistic loss of "they belong together", per image.

    Texts go round the ranks (`clip_align.losses.ring`), so that a rank compares its images with all of them, and the
    mean of the ranks' gradients (what DDP takes) is that of the whole batch. Computed in float32 (float64 for float64
    embeddings) whatever autocast says. Nothing that grows with b^2 is kept for the backward pass: it computes the
    logits again.

    Args:
        image: embeddings [b, D] of this rank's images, of any length: they are normalized here.
        text: embeddings [b, D] of their texts, in the same order; ValueError for another shape.
        logit_scale: the model's parameter, a scalar: the natural logarithm of the factor on cosines.
        logit_bias: scalar, added to all logits.
        rank: this process's, from 0.
        world: number of ranks, each with b rows.
        copies: bool [b], rows that are left out, on both sides; None: none of this rank's.
        chunk: images whose logits [chunk, b] are in memory at a time; None: all of this rank.

    Returns:
        A scalar in [0, inf), lower = better; not finite when an embedding is not.
    """
    with torch.autocast(image.device.type, enabled=False):
        image, text = normalized_and_marked(image, text, copies)
        if world > 1:
            check_equal_shapes(text)
        layout = _Layout(rank, world, chunk or len(image), world > 1 or copies is not None)
        # scalars are as exact as the embeddings: a float32 parameter gets its gradient through the conversion
        scale, bias = logit_scale.to(image.dtype).exp(), logit_bias.to(image.dtype)
        return cast(Tensor, _SigLIP.apply(image, text, scale, bias, layout))


class _SigLIP(torch.autograd.Function):
    """Value in one turn of the texts round the ranks; in another one their gradient travels along, and gets home."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, layout: _Layout) -> Tensor:
        total, pairs, block = image.new_zeros(()), image.new_zeros(()), text
        for turn in range(layout.world):
            for _, margins in _margins(image, block, scale, bias, layout, own=turn == 0):
                total -= functional.logsigmoid(margins).sum()
            pairs += (~are_copies(block)).sum() if layout.masked else len(block)
            if turn < layout.world - 1:
                block = pass_on(block, layout.rank, layout.world)
        ctx.save_for_backward(image, text, scale, bias, pairs)
        ctx.layout = layout
        return total * layout.world / pairs  # its mean over ranks is the sum over all, per pair of the whole batch

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias, pairs = ctx.saved_tensors
        layout: _Layout = ctx.layout
        factor = gradient * layout.world / pairs
        of_image, of_scale, of_bias = (torch.zeros_like(one) for one in (image, scale, bias))
        # a block of texts and the gradient of all ranks so far with respect to them: [2, b, D], one message
        parcel = torch.stack([text, torch.zeros_like(text)])
        for turn in range(layout.world):
            block, of_block = parcel
            for rows, margins in _margins(image, block, scale, bias, layout, own=turn == 0):
                of_logits = margins.neg_().sigmoid_().mul_(factor)  # [chunk, b]
                if turn == 0:
                    of_logits.diagonal(rows.start).neg_()
                products = of_logits @ block
                of_image[rows] += scale * products
                of_block.addmm_(of_logits.T, scale * image[rows])
                of_scale += (products * image[rows]).sum()
                of_bias += of_logits.sum()
            if layout.world > 1:
                parcel = pass_on(parcel, layout.rank, layout.world)  # after the last turn it is at home
        return of_image, parcel[1], of_scale, of_bias, None


def _margins(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, layout: _Layout, own: bool
) -> Iterator[tuple[slice, Tensor]]:
    """Logits of some images at a time against a block of texts, negated where the two do not belong together.

    Args:
        image: of this rank, [b, D].
        text: of any rank, [b, D].
        scale: factor on the products.
        bias: added to them.
        layout: rows at a time, and whether there are copies.
        own: the texts are this rank's.

    Yields:
        The images' rows and the margins [c, b]; those of copies are infinite, so that neither loss nor gradient is left
        of them.
    """
    for start in range(0, len(image), layout.chunk):
        rows = slice(start, min(start + layout.chunk, len(image)))
        margins = (scale * image[rows] @ text.T).add_(bias).neg_()
        if own:
            margins.diagonal(start).neg_()  # row i of the chunk belongs to text start + i
        if layout.masked:
            margins.masked_fill_(are_copies(image[rows])[:, None] | are_copies(text), torch.inf)
        yield rows, margins


class SigLIP(Loss):
    """`siglip`, with the bias as a parameter of its own.

    Args:
        initial_scale: factor on cosines before the first step; 10 in the paper (its t' is the logarithm, algorithm 1).
        initial_bias: -10 in the paper: almost all pairs do not belong together, and begin with a small loss.
        chunk: images whose logits are in memory at a time; None: all of this rank, against the texts of one rank.
    """

    def __init__(
        self,
        initial_scale: Annotated[float, Range(low=1, high=100)] = 10.0,
        initial_bias: float = -10.0,
        chunk: Annotated[int | None, Range(low=1)] = None,
    ) -> None:
        super().__init__()
        self.initial_logit_scale = math.log(initial_scale)
        self.logit_bias = nn.Parameter(torch.tensor(float(initial_bias)))
        self.chunk = chunk

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        logit_scale: Tensor,
        rank: int = 0,
        world: int = 1,
        copies: Tensor | None = None,
    ) -> Tensor:
        """See `siglip`."""
        return siglip(image, text, logit_scale, self.logit_bias, rank, world, copies, self.chunk)
