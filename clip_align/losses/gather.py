# SPDX-License-Identifier: Apache-2.0
"""Rows of all ranks, with the gradient sent back to the rank that each row came from."""

from __future__ import annotations

from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch.autograd.function import FunctionCtx, once_differentiable

from clip_align.errors import RunError

# Process group -> shape last found equal on all ranks: the check costs a collective and a synchronization with the
# device, so it is made when the shape changes, not at every step. Weak: a destroyed group takes its entry along.
_agreed: WeakKeyDictionary[Any, tuple[int, ...]] = WeakKeyDictionary()


class _GatherRows(torch.autograd.Function):
    """All-gather forward; backward each rank gets the sum over ranks of the gradients of its own rows."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: torch.Tensor) -> torch.Tensor:
        # rank 0's rows first; all ranks bring as many, see `check_equal_shapes`
        gathered = rows.new_empty(dist.get_world_size() * rows.shape[0], *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        rows = gradient.shape[0] // dist.get_world_size()
        if dist.get_backend() == "nccl":
            own = gradient.new_empty(rows, *gradient.shape[1:])
            dist.reduce_scatter_tensor(own, gradient.contiguous())
            return own
        total = gradient.clone(memory_format=torch.contiguous_format)  # gloo cannot reduce-scatter everywhere
        dist.all_reduce(total)
        return total[dist.get_rank() * rows :][:rows]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows [b, …] of every rank as [world * b, …], rank 0's first; differentiable.

    Backward sums, over ranks, the gradient of each rank's loss with respect to the rows gathered from here. With a loss
    that is a mean over local rows, the mean over ranks that DDP takes is then the gradient of the whole batch. RunError
    where the ranks' shapes differ (checked when a shape is new to this process group).
    """
    gathered: torch.Tensor = _uncompiled(rows)
    return gathered


def _gather_rows(rows: torch.Tensor) -> torch.Tensor:
    check_equal_shapes(rows)
    return cast(torch.Tensor, _GatherRows.apply(rows))


# A collective and a check in Python: nothing to compile.
_uncompiled = torch.compiler.disable(_gather_rows)  # type: ignore[no-untyped-call]


def check_equal_shapes(rows: torch.Tensor) -> None:
    """RunError where the ranks' shapes differ; checked when a shape is new to this process group."""
    group, shape = dist.group.WORLD, tuple(rows.shape)
    if _agreed.get(group) == shape:
        return
    mine = torch.tensor(shape, device=rows.device)  # on the device, where nccl needs it
    shapes = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, mine)
    found = [tuple(s.tolist()) for s in shapes]
    if len(set(found)) > 1:
        raise RunError(
            f"loss: ranks 0 to {len(found) - 1} brought {', '.join(str(s[0]) for s in found)} rows; "
            "every rank must bring the same number: use the batches of clip_align.data, or drop the last one"
        )
    _agreed[group] = shape
