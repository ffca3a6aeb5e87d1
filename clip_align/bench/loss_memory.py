# SPDX-License-Identifier: Apache-2.0
"""``bench loss_memory``: what a loss holds at most, forward and backward, against the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from clip_align.bench.options import LossMemory
from clip_align.bench.result import Result
from clip_align.config import KindConfig
from clip_align.data.worker_count import usable_cores
from clip_align.errors import Problem, RunError
from clip_align.kinds import LOSSES
from clip_align.losses.peak_memory import MIB, peak_memory
from clip_align.settings import kind_check
from clip_align.structure import shown

SMALL = 8  # pairs of a first pass on a GPU, in which cuBLAS takes its workspace


def measure(options: LossMemory, notify: Callable[[str], None]) -> Result:
    """Measure every loss with all combinations of its options; one that grows faster than batch^``require`` is missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or usable_cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cases, lines, missed = [], [], []
    for name, taken in _chosen(options):
        label = ", ".join([name, *(f"{key}={shown(value)}" for key, value in taken.items())])
        notify(f"{label}: batches of {', '.join(map(str, options.batch))}")
        # a loss for each: gradients of parameters of its own are part of its memory
        fresh = ((LOSSES.build(name, taken).to(device), pairs) for pairs in (SMALL, *options.batch))
        _, *peaks = (peak_memory(loss, pairs, options.dim, device) for loss, pairs in fresh)
        growth = exponent(options.batch, peaks)
        cases.append(
            {
                "name": name, "unit": "bytes", "options": taken, "dim": options.dim, "batch": list(options.batch),
                "device": device.type, "peak": peaks, "exponent": growth,
            }
        )  # fmt: skip
        lines.append(f"{label}, {options.dim} dimensions, forward and backward beyond the embeddings:")
        for batch, peak in zip(options.batch, peaks, strict=True):
            lines.append(f"  batch {batch:>7,}: {peak / MIB:10,.1f} MiB")
        if growth is not None:
            lines.append(f"  grows as batch^{growth:.2f} between the largest two")
        if options.require is not None and growth is not None and growth > options.require:
            missed.append(f"{label}: grows as batch^{growth:.2f}, more than require={options.require:g}")
    if options.figure is not None:
        _draw(cases, Path(options.figure).expanduser())
    return Result(cases, lines, missed)


def _chosen(options: LossMemory) -> list[tuple[str, dict[str, Any]]]:
    """Every loss with those of its options that it takes, each once."""
    found = []
    for name in options.loss:
        for given in options.combinations():
            if (one := (name, _taken(name, given))) not in found:
                found.append(one)
    return found


def exponent(batches: Sequence[int], peaks: Sequence[int]) -> float | None:
    """Of the power law between the last two points, 1 = linear, 2 = quadratic; None for a single point."""
    if len(batches) < 2:
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


def _draw(cases: Sequence[Mapping[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure  # takes a second, for the figure alone

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for case, marker in zip(cases, cycle("os^Dv"), strict=False):
        typed = " ".join([f"loss={case['name']}", *(f"loss.{k}={shown(v)}" for k, v in case["options"].items())])
        axes.plot(case["batch"], [peak / MIB for peak in case["peak"]], marker=marker, label=typed)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(cases[0]["batch"], [f"{pairs:,}" for pairs in cases[0]["batch"]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("pairs in the batch of one rank")
    axes.set_ylabel("peak memory of the loss, MiB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise RunError(f"figure: {file} cannot be written ({error.strerror or error})") from error
