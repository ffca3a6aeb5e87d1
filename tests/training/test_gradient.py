# SPDX-License-Identifier: Apache-2.0
"""Gradients of the whole module on 2 and 3 ranks equal those of one rank with the whole batch, in float64.

Gradients and not losses: with a gather that loses them the loss is right in every case.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from gradient_cache_rank import Step, batch, gradients, module
from torch import nn

from clip_align.testing.gloo_ranks import free_port


def on_rank(rank: int, world: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    own = module("infonce")
    wrapped = nn.parallel.DistributedDataParallel(Step(own), gradient_as_bucket_view=True, static_graph=True)
    loss = wrapped(batch(rank, world))
    loss.backward()
    dist.all_reduce(loss.data)
    if rank == 0:
        torch.save((loss.detach() / world, gradients(own)), f"{folder}/gradients.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_gradient_is_that_of_the_whole_batch(world: int, tmp_path: Path) -> None:
    alone = module("infonce")
    loss = alone.training_step(batch(0, 1), 0)
    loss.backward()
    given = world, free_port(), str(tmp_path)
    mp.start_processes(on_rank, given, nprocs=world, start_method="fork")  # imports are slow
    there, theirs = torch.load(tmp_path / "gradients.pt")
    ours = gradients(alone)
    assert theirs.keys() == ours.keys()
    assert len(ours) > 20
    assert loss.dtype == torch.float64
    assert torch.allclose(loss, there, rtol=1e-12)
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_a_row_that_repeats_another_is_left_out_of_the_loss() -> None:
    """As the loader marks it where a bad sample had no other replacement."""
    whole = batch(0, 1)
    fewer, doubled = ({**whole, "image": whole["image"][rows], "text": whole["text"][rows]} for rows in (
        torch.arange(7), torch.tensor([0, 1, 2, 3, 4, 5, 6, 2]),
    ))  # fmt: skip
    absent, masked, counted = (
        float(module("infonce").training_step(one, 0).detach())
        for one in (fewer, {**doubled, "repeated": [7]}, doubled)
    )
    assert masked == pytest.approx(absent, abs=1e-12)
    assert abs(counted - absent) > 0.01
