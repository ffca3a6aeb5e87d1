# SPDX-License-Identifier: Apache-2.0
"""``bench loss_memory``: what a loss holds at most, forward and backward, against the batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from clip_align.bench.memory import in_own_process, peak_bytes
from clip_align.bench.options import LossMemory
from clip_align.bench.result import Result
from clip_align.config import KindConfig
from clip_align.data.worker_count import usable_cores
from clip_align.errors import Problem
from clip_align.kinds import LOSSES
from clip_align.settings import kind_check

MIB = 2**20
SMALL = 8  # samples of a first step, which loads libraries


def measure(options: LossMemory, notify: Callable[[str], None]) -> Result:
    """Measure every loss; one that grows faster than batch^``require`` is missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    cases, lines, missed = [], [], []
    for name in options.loss:
        taken = _taken(name, options.options)
        threads = options.threads or usable_cores()
        notify(f"{name}: batches of {', '.join(map(str, options.batch))}")
        points = in_own_process(_points, name, taken, options.batch, options.dim, threads, options.seed)
        peaks, seconds = [peak for peak, _ in points], [seconds for _, seconds in points]
        growth = exponent(options.batch, peaks)
        cases.append(
            {
                "name": name, "unit": "bytes", "options": taken, "dim": options.dim, "batch": list(options.batch),
                "peak": peaks, "seconds": seconds, "exponent": growth,
            }
        )  # fmt: skip
        chosen = "".join(f", {key}={value}" for key, value in taken.items())
        lines.append(f"{name}{chosen}, {options.dim} dimensions, forward and backward beside the embeddings:")
        for batch, peak, took in zip(options.batch, peaks, seconds, strict=True):
            lines.append(f"  batch {batch:>7,}: {peak / MIB:10,.1f} MiB {took:8.3f} s")
        if growth is not None:
            lines.append(f"  grows as batch^{growth:.2f} between the largest two")
        if options.require is not None and (growth is None or growth > options.require):
            missed.append(f"{name}: grows as batch^{growth}, require={options.require:g}")
    return Result(cases, lines, missed)


def exponent(batches: Sequence[int], peaks: Sequence[int]) -> float | None:
    """Of the power law between the last two points: 1 = linear, 2 = quadratic; None where there is none."""
    if len(batches) < 2 or min(peaks[-2:]) <= 0 or batches[-1] <= batches[-2]:
        return None
    return math.log(peaks[-1] / peaks[-2]) / math.log(batches[-1] / batches[-2])


def _taken(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that the loss takes, as its constructor has them."""
    taken = {}
    for key, value in options.items():
        errors: list[Problem] = []
        found = kind_check.checked(KindConfig(name, {key: value}), LOSSES, errors)
        if not any(problem.key == f"loss.{key}" for problem in errors):
            taken[key] = found.options[key]
    return taken


def _points(
    name: str, options: Mapping[str, Any], batches: Sequence[int], dim: int, threads: int, seed: int
) -> list[tuple[int, float]]:
    """Peak bytes and seconds of each batch, in this process.

    Args:
        name: of the loss.
        options: of its constructor.
        batches: samples.
        dim: of the embeddings.
        threads: of the CPU.
        seed: of the embeddings.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loss = LOSSES.build(name, options).to(device)
    _step(loss, torch.randn(2, SMALL, dim, device=device))
    found = []
    for batch in batches:
        embeddings = torch.randn(2, batch, dim, device=device)
        began = time.perf_counter()
        peak = peak_bytes(partial(_step, loss, embeddings))
        found.append((peak, time.perf_counter() - began))
    return found


def _step(loss: Any, embeddings: torch.Tensor) -> None:
    """Forward and backward; the gradients of the embeddings are part of what is measured."""
    image, text = embeddings.detach().requires_grad_().unbind()
    scale = torch.tensor(loss.initial_logit_scale, device=embeddings.device, requires_grad=True)
    loss(image, text, scale).backward()
    if embeddings.is_cuda:
        torch.cuda.synchronize()
