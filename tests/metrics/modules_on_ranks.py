# SPDX-License-Identifier: Apache-2.0
"""Run by test_modules.py: every Metric on 1, 2 and 3 gloo ranks."""

from __future__ import annotations

import json

import numpy as np
import torch
from gloo_ranks import on_ranks

from clip_align.metrics import modules as m
from clip_align.processes.ranks import Ranks

N = 240


def columns() -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    human = np.round(generator.normal(size=N), 1)
    shape, texture = np.arange(N) % 16, (np.arange(N) * 7 + 3) % 16
    choice = np.where(generator.random(N) < 0.3, shape, np.where(generator.random(N) < 0.5, texture, 5))
    arrays = {
        "model": 1 + 1e-9 * (human + generator.normal(size=N)),  # float32 would tie them all
        "human": human,
        "level": np.arange(N) % 5,
        "condition": np.arange(N) % 10,
        "choice": choice,
        "shape": shape,
        "texture": texture,
        "right": shape,
        "clean": np.where(np.arange(N) % 5 > 0, shape, 3),
        "noisy": np.where(np.arange(N) % 2 > 0, shape, 3),
    }
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


def metrics() -> list[m.ItemMetric]:
    simple = [m.Srocc(), m.Plcc(), m.Krocc(), m.WithinLevelSrocc(), m.ContentSrocc(), m.Accuracy()]
    return [*simple, m.TextureBias(16), m.TextureBiasCorrected(16), m.CorrectedDrop(16)]


def fractions(world: int) -> list[np.ndarray]:
    """Uneven, out of order, the second of three empty, the last with items that others hold too."""
    order = np.random.default_rng(1).permutation(N)
    first = {1: [order], 2: [order[:200], order[200:]], 3: [order[:37], order[:0], order[37:]]}[world]
    return [*first[:-1], np.concatenate((first[-1], order[:11]))]


def on_rank(ranks: Ranks) -> dict[str, list[object]]:
    """Value and type of every Metric."""
    data, fraction, values = columns(), torch.from_numpy(fractions(ranks.world)[ranks.rank]), {}
    for metric in metrics():
        for part in torch.split(fraction, 50) if len(fraction) else ():
            metric.update(part, *(data[name][part] for name in metric.columns))
        values[type(metric).__name__] = [metric.compute().item(), str(metric.compute().dtype)]
        metric.reset()
    return values


if __name__ == "__main__":
    print(json.dumps({world: on_ranks(world, on_rank) for world in (1, 2, 3)}))
