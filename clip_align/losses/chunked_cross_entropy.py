# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of rows against columns without the whole matrix of logits: memory grows linearly with the batch.

A few rows at a time get their logits, and with them their part of the gradient, before the next ones take their place.
So each logit is computed once, and what is kept for the backward pass has the size of the embeddings. A checkpointed
forward pass would keep as little, and compute each logit twice.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clip_align.losses.copies import IGNORED


def chunked_cross_entropy(
    rows: Tensor, columns: Tensor, scale: Tensor, own: Tensor, absent: Tensor | None, chunk: int
) -> Tensor:
    """``cross_entropy(scale * rows @ columns.T, own)``, with at most ``chunk`` rows of the logits at a time.

    Args:
        rows: embeddings [b, D].
        columns: embeddings [n, D], of the type of ``rows``.
        scale: scalar, the factor on the products.
        own: int64 [b], the column of each row; `IGNORED` for a row that is left out.
        absent: bool [n], columns that are left out; None: none.
        chunk: rows at a time, at least 1; the last chunk may be smaller.

    Returns:
        The mean over the rows that are not left out, a scalar; NaN where all are.
    """
    return cast(Tensor, _ChunkedCrossEntropy.apply(rows, columns, scale, own, absent, chunk))


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes the gradient together with the value; backward multiplies it by what arrives."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, own: Tensor, absent: Tensor | None, chunk: int
    ) -> Tensor:
        count = (own != IGNORED).sum()
        total = rows.new_zeros(())
        needed = any(ctx.needs_input_grad)
        of_rows, of_columns = torch.zeros_like(rows), torch.zeros_like(columns)
        of_scale = torch.zeros_like(scale)
        for start in range(0, len(rows), chunk):
            part, target = rows[start : start + chunk], own[start : start + chunk]
            present = target != IGNORED
            target = target.clamp(min=0)[:, None]
            logits = scale * part @ columns.T  # [chunk, n]: the largest tensor here
            if absent is not None:
                logits.masked_fill_(absent, -torch.inf)
            norm = logits.logsumexp(1, keepdim=True)
            losses = norm - logits.gather(1, target)
            total += torch.where(present[:, None], losses, 0.0).sum()
            if not needed:
                continue
            gradient = logits.sub_(norm).exp_()  # in place: the logits are not read again
            gradient.scatter_add_(1, target, -torch.ones_like(norm))
            gradient.mul_(present[:, None].to(rows.dtype) / count)
            products = gradient @ columns  # [chunk, D]
            of_rows[start : start + chunk] = scale * products
            of_columns.addmm_(gradient.T, scale * part)
            of_scale += (products * part).sum()
        ctx.save_for_backward(of_rows, of_columns, of_scale)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_rows, of_columns, of_scale = ctx.saved_tensors
        return of_rows * gradient, of_columns * gradient, of_scale * gradient, None, None, None
