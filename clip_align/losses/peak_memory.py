# SPDX-License-Identifier: Apache-2.0
"""What a loss takes of memory at its peak, forward and backward pass together, beyond the embeddings.

    python -m clip_align.losses.peak_memory --figure loss_memory.png

prints it for several losses and batches as Markdown, and draws it.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clip_align.losses.base import Loss
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.siglip import SigLIP

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


def measured(batches: Sequence[int], width: int, chunk: int, device: torch.device) -> dict[str, list[int]]:
    """Peaks in bytes by loss, one for each batch.

    Args:
        batches: pairs of each.
        width: of an embedding.
        chunk: rows of the logits at a time, of the losses that are computed in chunks.
        device: that is measured.
    """
    losses: Mapping[str, Loss] = {
        "loss=infonce": InfoNCE(),
        f"loss=infonce loss.chunk={chunk}": InfoNCE(chunk=chunk),
        f"loss=siglip loss.chunk={chunk}": SigLIP(chunk=chunk),
    }
    return {
        name: [peak_memory(loss.to(device), pairs, width, device) for pairs in batches] for name, loss in losses.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and draw the figure; returns the exit code."""
    parser = argparse.ArgumentParser(description="Peak memory of the losses against the batch of one rank.")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--width", type=int, default=512, help="of an embedding")
    parser.add_argument("--chunk", type=int, default=256, help="rows of the logits at a time")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--figure", type=Path, help="a file to draw into, PNG or SVG; none unless given")
    chosen = parser.parse_args(arguments)
    peaks = measured(chosen.batches, chosen.width, chosen.chunk, torch.device(chosen.device))
    print("| pairs | " + " | ".join(peaks) + " |")
    print("| ---: |" + " ---: |" * len(peaks))
    for number, pairs in enumerate(chosen.batches):
        print(f"| {pairs:,} | " + " | ".join(f"{peak[number] / MIB:,.1f} MiB" for peak in peaks.values()) + " |")
    if chosen.figure is not None:
        _draw(chosen.batches, peaks, chosen.figure)
    return 0


def _draw(batches: Sequence[int], peaks: Mapping[str, Sequence[int]], file: Path) -> None:
    from matplotlib.figure import Figure  # takes a second, for the figure alone

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, values), marker in zip(peaks.items(), "os^", strict=True):
        axes.plot(batches, [value / MIB for value in values], marker=marker, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(batches, [f"{pairs:,}" for pairs in batches])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("pairs in the batch of one rank")
    axes.set_ylabel("peak memory of the loss, MiB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
