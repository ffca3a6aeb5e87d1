# SPDX-License-Identifier: Apache-2.0
"""Rows that repeat another pair of the batch, told apart from all others after a gather.

A copy would be its own false negative. Which rows are copies is known to the rank that made the batch alone. It
overwrites them by a value that no normalized row has, so that the other ranks see them among the gathered rows: no
collective is added, and rows that are no copies keep every bit.
"""

from __future__ import annotations

from torch import Tensor

_MARK = 2.0  # elements of a normalized row are at most 1
IGNORED = -100  # the target that cross_entropy leaves out


def marked(rows: Tensor, copies: Tensor | None) -> Tensor:
    """Normalized rows [b, D] with those of copies overwritten, which no gradient passes.

    Args:
        rows: embeddings of length 1, or 0.
        copies: bool [b]; None where there are none.
    """
    return rows if copies is None else rows.masked_fill(copies[:, None], _MARK)


def are_copies(rows: Tensor) -> Tensor:
    """Which of the marked rows [n, D], gathered or not, are copies: bool [n]. Nothing waits for the device."""
    return rows.detach()[:, 0] == _MARK
