# SPDX-License-Identifier: Apache-2.0
"""Sets of weights that one event encodes with: the model's own, averaged ones, in place and without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from clip_align.processes.ranks import Ranks

Swap = Callable[[], AbstractContextManager[Any]]
RAW = "raw"
OWN: Mapping[str, Swap] = {RAW: nullcontext}  # the weights that the model has


@contextmanager
def swapped(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """``model`` with other values in the parameters and buffers named; inside, ``tensors`` hold the model's own.

    Memory changes hands, nothing is copied: what comes back is the same to the bit, and parameters stay the same
    objects for whoever holds them (optimizer, DDP). ``tensors``: by name, of the same shape, type and device.
    ValueError for a name that is not there or a tensor that does not fit; nothing is swapped then.
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

    exchange()
    try:
        yield
    finally:
        exchange()


class WeightSet:
    """One set of weights during an event: entered around every batch, with rank 0's buffers on every rank.

    Buffers are made equal because BatchNorm's differ between the ranks of a training, in averages of them too.
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
        """The model has these weights; everything is put back as it was."""
        with self._swap():
            places = list(self._model.buffers()) if self._buffers else []
            before = [buffer.detach().clone() for buffer in places]
            try:
                for place, shared in zip(places, self._buffers, strict=True):
                    place.copy_(shared)
                yield
            finally:
                for place, old in zip(places, before, strict=True):
                    place.copy_(old)
