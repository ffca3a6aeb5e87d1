# SPDX-License-Identifier: Apache-2.0
"""Sets of weights that an event encodes with (the model's own, averages), exchanged in place and restored exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from clip_align.processes.ranks import Ranks

Swap = Callable[[], AbstractContextManager[Any]]
RAW, EMA = "raw", "ema"  # the current weights; their average over the last part of training
OWN: Mapping[str, Swap] = {RAW: nullcontext}


@contextmanager
def swapped(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """``model`` with other values in some parameters and buffers; inside, ``tensors`` hold the model's own values.

    The storages are exchanged without copying: the values are restored bit-identically, and parameters stay the same
    objects for optimizer and DDP. ``tensors``: by name, of the same shape, type and device as in the model; ValueError
    otherwise, before anything is exchanged.
    """
    places = {**dict(model.named_parameters()), **dict(model.named_buffers())}
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
            places[name].data, tensor.data = tensor.data, places[name].data

    exchange()  # a second exchange undoes the first
    try:
        yield
    finally:
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
        with self._swap():
            places = list(self._model.buffers()) if self._buffers else []
            before = [buffer.detach().clone() for buffer in places]
            try:
                for place, of_rank_0 in zip(places, self._buffers, strict=True):
                    place.copy_(of_rank_0)
                yield
            finally:
                for place, old in zip(places, before, strict=True):
                    place.copy_(old)
