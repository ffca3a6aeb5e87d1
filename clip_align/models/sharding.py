# SPDX-License-Identifier: Apache-2.0
"""A model whose parameters are divided over ranks (FSDP2, ``torch.distributed.fsdp.fully_shard``).

Each rank keeps a slice of every parameter along its first dimension, a ``DTensor``; a block is gathered while it
computes. A forward pass is therefore a collective: all ranks run the same passes in the same order. Scalars, which
torch does not divide, stay whole on every rank.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clip_align.models.layers import image_blocks

ENCODERS = ("encode_image", "encode_text")
_apart: list[Any] = []  # the group that `gathered` uses in place of the mesh's, inside `gathering_apart`


def shard_model(model: nn.Module, mesh: Any, reshard_after_forward: bool) -> None:
    """Divide the parameters over the ranks, in place: names stay, parameters become DTensors on the mesh's device.

    Gathered and freed together are a block of a tower, an embedding, and what is left of the model.

    Args:
        model: with ``encode_image`` and ``encode_text``, the same weights on all ranks.
        mesh: one-dimensional DeviceMesh over the ranks.
        reshard_after_forward: free what was gathered after the forward pass, and gather it again for the backward
            pass; False keeps it until then.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for parameter in model.parameters():  # torch divides no other layout, such as convolutions' channels_last
        parameter.data = parameter.data.contiguous()
    whole = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    for unit in (*sharded_units(model), model):
        fully_shard(unit, mesh=mesh, reshard_after_forward=reshard_after_forward, ignored_params=whole)
    for name in ENCODERS:  # called in place of forward, which is what torch gathers for by itself
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)


def is_sharded(model: nn.Module) -> bool:
    """Whether a forward pass of ``model`` is a collective."""
    return bool(_sharded_modules(model))


def reshard(model: nn.Module) -> None:
    """Free what is gathered, so that the next forward pass gathers the present weights; a no-op where nothing is."""
    for module in _sharded_modules(model):
        module.reshard()


def own_part(tensor: Tensor) -> Tensor:
    """This rank's slice of a parameter or gradient, in the same memory and without a graph; itself where it is whole.

    A slice may have no rows: a parameter with fewer rows than there are ranks.
    """
    with torch.no_grad():
        to_local = getattr(tensor, "to_local", None)  # of DTensor, whose import takes long
        return tensor if to_local is None else to_local()


def is_divided(tensor: Tensor) -> bool:
    """Whether this is a slice of a tensor of all ranks."""
    return hasattr(tensor, "to_local")


def gathered(part: Tensor, like: Any) -> Tensor:
    """The whole tensor that the ranks hold parts of, on every rank: a collective where ``like`` is divided.

    Args:
        part: this rank's, of any type; returned as it is where ``like`` is whole.
        like: parameter that is divided as the whole is.
    """
    if not is_divided(like):
        return part
    if _apart:
        return _gathered_apart(part, like, _apart[-1])
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements
    divided = DTensor.from_local(part, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
    whole: Tensor = divided.full_tensor()
    return whole


@contextmanager
def gathering_apart(group: Any) -> Iterator[None]:
    """Inside, `gathered` returns the whole on the first rank only, in host memory, and the part as it is elsewhere.

    For the time after a failure: collectives of the mesh may have begun on some ranks and not on others, so that a
    further one would meet another one's data.

    Args:
        group: of gloo, over all ranks, that nothing else uses.
    """
    _apart.append(group)
    try:
        yield
    finally:
        _apart.pop()


def _gathered_apart(part: Tensor, like: Any, group: Any) -> Tensor:
    rows = -(-like.shape[0] // dist.get_world_size(group))  # of the largest part: gloo gathers equal ones
    own = part.detach().cpu()
    filled = torch.cat([own, own.new_zeros(rows - len(own), *own.shape[1:])])
    parts = [torch.empty_like(filled) for _ in range(dist.get_world_size(group))] if dist.get_rank(group) == 0 else None
    dist.gather(filled, parts, dst=0, group=group)
    return part if parts is None else torch.cat(parts)[: like.shape[0]]


def part_of(whole: Tensor, like: Any) -> Tensor:
    """This rank's part of ``whole``, a copy on the device of ``like``: what `gathered` gathers.

    Args:
        whole: the same on all ranks, of the shape of ``like``.
        like: parameter that may be divided.
    """
    if not is_divided(like):
        return torch.empty_like(like.detach()).copy_(whole)  # in its layout
    (placement,) = like.placements
    size, rank = like.device_mesh.size(), like.device_mesh.get_local_rank()
    parts = torch.chunk(whole, size, dim=placement.dim)
    part = parts[rank] if rank < len(parts) else whole.narrow(placement.dim, 0, 0)
    return part.to(like.device, copy=True).contiguous()


def fullest_part(model: nn.Module, world: int) -> int:
    """Number of parameters that the fullest of ``world`` ranks holds, the first one: scalars are whole on each."""
    return sum(-(-p.shape[0] // world) * p.shape[1:].numel() if p.ndim else 1 for p in model.parameters())


def gathered_groups(model: nn.Module) -> list[int]:
    """Numbers of parameters that are gathered together: of `sharded_units`, and last of what is left of the model."""
    sizes: list[int] = []
    counted: set[int] = set()
    for unit in (*sharded_units(model), model):
        own = {id(p): p.numel() for p in unit.parameters() if p.ndim and id(p) not in counted}
        counted.update(own)
        sizes.append(sum(own.values()))
    return sizes


def most_gathered(model: nn.Module, reshard_after_forward: bool) -> int:
    """Number of parameters that are whole on a rank at a time.

    What is left of the model stays gathered while its blocks compute, one after another; without
    ``reshard_after_forward`` (see `shard_model`) every block stays until its backward pass.
    """
    *units, rest = gathered_groups(model)
    return rest + (max(units, default=0) if reshard_after_forward else sum(units))


def _sharded_modules(model: nn.Module) -> list[Any]:
    fsdp = sys.modules.get("torch.distributed.fsdp")  # nothing is sharded where it is not imported
    return [] if fsdp is None else [module for module in model.modules() if isinstance(module, fsdp.FSDPModule)]


def sharded_units(model: nn.Module) -> list[nn.Module]:
    """Blocks and embeddings, inner ones first."""
    chosen = {id(block) for block in image_blocks(model)}
    for module in model.modules():
        if isinstance(module, nn.ModuleList):  # the blocks of transformers, open_clip's and most others'
            chosen.update(map(id, module))
        elif isinstance(module, nn.Embedding):  # tens of millions of weights beside the blocks
            chosen.add(id(module))
    inner_first = list(model.modules())[::-1]
    return [m for m in inner_first if m is not model and id(m) in chosen and any(p.ndim for p in m.parameters())]
