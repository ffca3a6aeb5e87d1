# SPDX-License-Identifier: Apache-2.0
"""What a loss takes of memory at its peak, forward and backward pass together, beyond the embeddings."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clip_align.losses.base import Loss

MIB = 2**20


def peak_memory(loss: Loss, pairs: int, width: int = 512, device: torch.device | None = None) -> int:
    """Bytes at the peak of one forward and backward pass on made-up embeddings, on one rank.

    On CUDA what the allocator has given out. On the CPU the tensors that are alive at the same time; what an operation
    takes for itself while it runs is not seen there. The embeddings themselves are not counted, their gradients are.

    Args:
        loss: on ``device``.
        pairs: rows of the batch.
        width: of an embedding.
        device: None: the CPU.
    """
    device = device or torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(pairs, width, generator=generator).to(device).requires_grad_() for _ in range(2))
    scale = torch.tensor(loss.initial_logit_scale, device=device, requires_grad=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        loss(image, text, scale).backward()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - int(before)
    alive = _Alive()
    with alive:
        loss(image, text, scale).backward()
    return alive.peak


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations return, until they are freed. ``peak``: the most at any time, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {storage._cdata for storage in _storages((args, kwargs))}  # changed in place, or looked at
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage._cdata not in given | self._known:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        number, size = storage._cdata, storage.nbytes()
        self._known.add(number)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._freed, number, size)

    def _freed(self, number: int, size: int) -> None:
        self._known.discard(number)
        self._now -= size


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
