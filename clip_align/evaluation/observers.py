# SPDX-License-Identifier: Apache-2.0
"""Evaluate observers without an embedding (PSNR, SSIM, the level alone, …) on the pairs that a benchmark declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.scoring import BenchmarkResult, estimates
from clip_align.evaluation.stimulus import ImageArray, Stimulus
from clip_align.perception.distances import DistanceName
from clip_align.perception.observers import Labels, Measure, Observer, OfImages, PairSet


@dataclass(frozen=True, eq=False)
class ObservedPairs:
    """Distances by an observer, the same under every name."""

    distances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.distances)

    def distance(self, name: DistanceName) -> NDArray[np.float64]:
        """The observer's distances [P]; ``name`` is ignored."""
        return self.distances


def observed(benchmark: Benchmark, observer: Observer | Measure) -> BenchmarkResult:
    """Items and scores of a benchmark with ``observer`` in place of a model; images are compared at their own size.

    Args:
        benchmark: declares pairs.
        observer: one of `perception.observers`, or a function of two images [H, W, 3], larger = more different.

    UserError if the benchmark declares no pairs, or the observer needs a column that the items do not have. Scores are
    undefined for the same reasons as those of a model.
    """
    judge = observer if isinstance(observer, Observer) else OfImages(observer)
    items = _items(benchmark, judge.distances(pair_set(benchmark)))
    return BenchmarkResult(estimates(benchmark, items), dict(items.notes), items)


def baselines_by_score(
    benchmark: Benchmark, observers: Mapping[str, Observer | Measure]
) -> dict[str, dict[str, float]]:
    """What observers without a model score, by score and label, as ``Score.baselines`` has them.

    Undefined values are left out.

    Args:
        benchmark: declares pairs.
        observers: by the label of the baseline.
    """
    values: dict[str, dict[str, float]] = {}
    for label, observer in observers.items():
        for name, estimate in observed(benchmark, observer).estimates.items():
            if estimate.value is not None:
                values.setdefault(name, {})[label] = estimate.value
    return values


def pair_set(benchmark: Benchmark) -> PairSet:
    """The declared pairs as observers are given them."""
    pairs = [(reference, other) for reference, other in benchmark.pairs()]
    if not pairs:
        raise UserError(f"{benchmark.key}: declares no pairs(), so that nothing but a model can be evaluated on it")
    stimuli = {stimulus.id: stimulus for stimulus in benchmark.stimuli()}
    return PairSet(len(pairs), lambda: _images(pairs, stimuli), lambda: _labels(benchmark, len(pairs)))


def _labels(benchmark: Benchmark, pairs: int) -> Labels:
    """Clusters, conditions and human values of the items."""
    # any distances will do: labels and opinions do not depend on them
    items = _items(benchmark, np.arange(pairs, dtype=np.float64))
    if len(items) != pairs:
        what = f"its {pairs:,} pairs make {len(items):,} items; labels are known of one item for each pair"
        raise UserError(f"{benchmark.key}: {what}")
    return Labels({**items.conditions, **items.clusters}, items.human)


def _items(benchmark: Benchmark, distances: NDArray[np.float64]) -> Items:
    nothing = np.zeros((0, 0), np.float32)  # an observer has no embeddings, of images or of prompts
    return benchmark.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))


def _images(
    pairs: Sequence[tuple[str, str]], stimuli: Mapping[str, Stimulus]
) -> Iterator[tuple[ImageArray, ImageArray]]:
    """Both images of each pair; the last reference stays in memory: most benchmarks have its pairs in a row."""
    last, image = None, None
    for reference, other in pairs:
        if reference != last or image is None:
            last, image = reference, stimuli[reference].load()
        yield image, stimuli[other].load()
