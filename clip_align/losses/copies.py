# SPDX-License-Identifier: Apache-2.0
"""Rows that repeat another pair of the batch, told apart from all others after a gather.

A copy would be its own false negative. Which rows are copies is known to the rank that made the batch alone. It
overwrites them by a value that no normalized row has, so that the other ranks see them among the gathered rows: no
collective is added, and rows that are no copies keep every bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_MARK = 2.0  # elements of a normalized row are at most 1
IGNORED = -100  # the target that cross_entropy leaves out


def normalized_and_marked(image: Tensor, text: Tensor, copies: Tensor | None) -> tuple[Tensor, Tensor]:
    """Embeddings [b, D] as losses compare them: of length 1 (or 0), in float32 (float64 for float64), copies marked.

    Copies are overwritten, so that no gradient passes them.

    Args:
        image: of any length; row i belongs to row i of ``text``.
        text: of any length; ValueError for another shape.
        copies: bool [b]; None where there are none.
    """
    if image.shape != text.shape:
        raise ValueError(f"image and text embeddings differ in shape: {tuple(image.shape)}, {tuple(text.shape)}")
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    image, text = (functional.normalize(rows.to(dtype), dim=-1) for rows in (image, text))
    if copies is None:
        return image, text
    return image.masked_fill(copies[:, None], _MARK), text.masked_fill(copies[:, None], _MARK)


def are_copies(rows: Tensor) -> Tensor:
    """Which of the marked rows [n, D], gathered or not, are copies: bool [n]. Nothing waits for the device."""
    return rows.detach()[:, 0] == _MARK
