# SPDX-License-Identifier: Apache-2.0
"""Blocks of rows that go round the ranks, so that each rank sees all of them and never holds more than one.

A gather would hold the rows of all ranks at once, and their gradients. Here memory does not depend on the number of
ranks; what each rank sends is the same as in a gather, to its neighbour only.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def pass_on(block: Tensor, rank: int, world: int) -> Tensor:
    """Send a block to the next rank; the block of the rank before. Every rank calls it, with blocks of one shape.

    Args:
        block: any tensor.
        rank: this process's.
        world: number of ranks, at least 2.
    """
    block, received = block.contiguous(), torch.empty_like(block, memory_format=torch.contiguous_format)
    send = dist.P2POp(dist.isend, block, (rank + 1) % world)
    receive = dist.P2POp(dist.irecv, received, (rank - 1) % world)
    for work in dist.batch_isend_irecv([send, receive]):
        work.wait()
    return received
