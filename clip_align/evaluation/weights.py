# SPDX-License-Identifier: Apache-2.0
"""Sets of weights that an event encodes with (the model's own, averages), exchanged in place and restored exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from clip_align.models.sharding import is_divided, own_part, reshard
from clip_align.processes.ranks import Ranks

Swap = Callable[[], AbstractContextManager[Any]]
RAW, EMA = "raw", "ema"  # the current weights; their average over the last part of training
OWN: Mapping[str, Swap] = {RAW: nullcontext}


@contextmanager
def swapped(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """``model`` with other values in some parameters and buffers; inside, ``tensors`` hold the model's own values.

    The storages are exchanged without copying: the values are restored bit-identically, and parameters stay the same
    objects for optimizer and DDP. ``tensors``: by name, of the same shape, type and device as in the model; ValueError
    otherwise, before anything is exchanged. Of a model that is sharded over ranks, ``tensors`` are this rank's parts,
    and values are exchanged in place, since FSDP gathers from the memory that it knows.
    """
    whole = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    places = {name: own_part(tensor) for name, tensor in whole.items() if name in tensors}
    for name, tensor in tensors.items():
        place = places.get(name)
        if place is None:
            raise ValueError(f"weights: {name} is no parameter or buffer of {type(model).__name__}")
        if (place.shape, place.dtype, place.device) != (tensor.shape, tensor.dtype, tensor.device):
            raise ValueError(
                f"weights: {name} is {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}; the model needs "
                f"{tuple(place.shape)} {place.dtype} on {place.device}"
            )

    def exchange() -> None:
        for name, tensor in tensors.items():
            if is_divided(whole[name]):
                before = places[name].clone()
                places[name].copy_(tensor)
                tensor.copy_(before)
            else:
                places[name].data, tensor.data = tensor.data, places[name].data

    with torch.no_grad():
        exchange()  # a second exchange undoes the first
    try:
        yield
    finally:
        with torch.no_grad():
            exchange()


class WeightSet:
    """One set of weights during an event: entered around every batch, with rank 0's buffers on every rank.

    Buffers are broadcast because BatchNorm's statistics differ between the ranks of a training, also in averages.

    Args:
        model: the model under evaluation.
        swap: context manager inside which the model has these weights.
        ranks: the process group; constructing is a collective.
    """

    def __init__(self, model: nn.Module, swap: Swap, ranks: Ranks) -> None:
        self._model, self._swap = model, swap
        self._buffers: list[torch.Tensor] = []
        if ranks.world > 1:
            self._buffers = ranks.together(self._copies)
            ranks.broadcast_tensors(self._buffers)

    def _copies(self) -> list[torch.Tensor]:
        with self._swap():
            return [buffer.detach().clone() for buffer in self._model.buffers()]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, the model has these weights; everything is restored on exit."""
        with self._swap(), _resharded(self._model):
            places = list(self._model.buffers()) if self._buffers else []
            before = [buffer.detach().clone() for buffer in places]
            try:
                for place, of_rank_0 in zip(places, self._buffers, strict=True):
                    place.copy_(of_rank_0)
                yield
            finally:
                for place, old in zip(places, before, strict=True):
                    place.copy_(old)


@contextmanager
def _resharded(model: nn.Module) -> Iterator[None]:
    """What a sharded model has gathered inside is freed on exit: other weights may follow."""
    try:
        yield
    finally:
        reshard(model)
