# SPDX-License-Identifier: Apache-2.0
"""Evaluate observers without an embedding (PSNR, SSIM, …) on the pairs that a benchmark declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.features import Features
from clip_align.evaluation.scoring import BenchmarkResult, estimates
from clip_align.evaluation.stimulus import ImageArray, Stimulus
from clip_align.perception.distances import DistanceName

# how different two images [H, W, 3] are: larger = more different (for a quality measure: minus its value)
Observer = Callable[[ImageArray, ImageArray], float]


class ObservedPairs:
    """Distances by an observer, the same under every name.

    Args:
        pairs: ids of (reference, other).
        stimuli: by id.
        observer: compares the images of each pair.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], stimuli: Mapping[str, Stimulus], observer: Observer) -> None:
        self.distances = np.empty(len(pairs))  # float64 [P]
        last, image = None, None  # kept in memory, as pairs of one reference are adjacent in most benchmarks
        for number, (reference, other) in enumerate(pairs):
            if reference != last or image is None:
                last, image = reference, stimuli[reference].load()
            self.distances[number] = observer(image, stimuli[other].load())

    def __len__(self) -> int:
        return len(self.distances)

    def distance(self, name: DistanceName) -> NDArray[np.float64]:
        """The observer's distances [P]; ``name`` is ignored."""
        return self.distances


def observed(benchmark: Benchmark, observer: Observer) -> BenchmarkResult:
    """Items and scores of a benchmark with ``observer`` in place of a model; images are compared at their own size.

    UserError if the benchmark declares no pairs. Scores are undefined for the same reasons as those of a model.
    """
    pairs = [(reference, other) for reference, other in benchmark.pairs()]
    if not pairs:
        raise UserError(f"{benchmark.key}: declares no pairs(), so that nothing but a model can be evaluated on it")
    stimuli = {stimulus.id: stimulus for stimulus in benchmark.stimuli()}
    nothing = np.zeros((0, 0), np.float32)  # an observer has no embeddings, of images or of prompts
    items = benchmark.items(Features(nothing[None], {}, nothing, ObservedPairs(pairs, stimuli, observer)))
    return BenchmarkResult(estimates(benchmark, items), dict(items.notes), items)
