# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss of CLIP (Radford et al. 2021, section 2.3)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.nn import functional

from clip_align.losses.base import Loss
from clip_align.losses.chunked_cross_entropy import chunked_cross_entropy
from clip_align.losses.copies import IGNORED, are_copies, normalized_and_marked
from clip_align.losses.gather import gather_rows
from clip_align.structure import Range


def infonce(
    image: torch.Tensor,
    text: torch.Tensor,
    logit_scale: torch.Tensor,
    rank: int = 0,
    world: int = 1,
    copies: torch.Tensor | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """Mean cross-entropy of finding the text of each image and the image of each text among all ranks' rows.

    Local rows are compared with the gathered columns of all ranks, so the mean of the ranks' gradients (what DDP
    takes) is that of the whole batch: nothing is multiplied by the number of ranks. Computed in float32 (float64 for
    float64 embeddings) whatever autocast says.

    Args:
        image: embeddings [b, D] of this rank's images, of any length: they are normalized here.
        text: embeddings [b, D] of their texts, in the same order; ValueError for another shape.
        logit_scale: the model's parameter, a scalar: the natural logarithm of the factor.
        rank: this process's, from 0.
        world: number of ranks, each with b rows.
        copies: bool [b], rows that are left out, on both sides; None: none of this rank's.
        chunk: rows of the logits [b, world * b] that are in memory at a time; None: all of them.

    Returns:
        A scalar in [0, inf), lower = better; ln(world * b) for a model that knows nothing; not finite when an
        embedding is not.
    """
    # In float32 (float64 for float64) under autocast too: bfloat16 logits of up to 100 have a resolution of .5.
    with torch.autocast(image.device.type, enabled=False):
        image, text = normalized_and_marked(image, text, copies)
        images, texts = image, text  # [world * b, D]
        if world > 1:
            images, texts = gather_rows(torch.cat([image, text], dim=1)).chunk(2, dim=1)  # one collective for both
        scale = logit_scale.to(image.dtype).exp()
        # the matching column of local row k is row k of this rank's block
        own = torch.arange(len(image), device=image.device) + rank * len(image)
        absent = None  # which columns are copies: bool [world * b]
        if world > 1 or copies is not None:
            absent, own = are_copies(images), own.masked_fill(are_copies(image), IGNORED)
        if chunk is None:
            to_texts = _cross_entropy(scale * image @ texts.T, own, absent)
            to_images = _cross_entropy(scale * text @ images.T, own, absent)
        else:
            to_texts = chunked_cross_entropy(image, texts, scale, own, absent, chunk)
            to_images = chunked_cross_entropy(text, images, scale, own, absent, chunk)
        loss = (to_texts + to_images) / 2
        return loss if absent is None else loss * _weight(own, absent, world, image.dtype)


def _cross_entropy(logits: torch.Tensor, own: torch.Tensor, absent: torch.Tensor | None) -> torch.Tensor:
    """Mean over the rows of logits [b, n] whose target in ``own`` is not ignored, without the columns ``absent``."""
    if absent is not None:
        logits = logits.masked_fill_(absent, -torch.inf)
    return functional.cross_entropy(logits, own)


def _weight(own: torch.Tensor, absent: torch.Tensor, world: int, dtype: torch.dtype) -> torch.Tensor:
    """Weight of this rank's mean in the mean over ranks that DDP takes: 1 unless ranks have unequally many copies."""
    here, everywhere = (own != IGNORED).sum(), (~absent).sum()
    return (here * world).to(dtype) / everywhere


class InfoNCE(Loss):
    """`infonce`; ``chunk``: rows of the logits that are in memory at a time, all of them where it is None."""

    def __init__(self, chunk: Annotated[int | None, Range(low=1)] = None) -> None:
        super().__init__()
        self.chunk = chunk

    def forward(
        self,
        image: torch.Tensor,
        text: torch.Tensor,
        logit_scale: torch.Tensor,
        rank: int = 0,
        world: int = 1,
        copies: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `infonce`."""
        return infonce(image, text, logit_scale, rank, world, copies, self.chunk)
