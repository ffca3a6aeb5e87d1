# SPDX-License-Identifier: Apache-2.0
"""One event: every distinct image encoded once, items and scores of all due benchmarks on rank 0.

The functions here know benchmarks, features and ranks; not Lightning, not the record, not the step.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import RunError, UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.encode import PROJECTION, Array, EncodedFeatures, EncodingRequest, Layer
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.scoring import BenchmarkResult, ContractError, all_undefined, estimates, merged
from clip_align.evaluation.stimulus import View
from clip_align.metrics.estimate import Estimate
from clip_align.metrics.vectors import FLOAT32_NOISE, unit


@dataclass(frozen=True, eq=False)
class PreparedBenchmark:
    """A benchmark with its images at hand: all that is fixed during a run.

    ids and images [N, V, S, S, 3] by view; ``reason``: it cannot be asked at all (unknown words).
    """

    benchmark: Benchmark
    stimulus_images: Mapping[View, tuple[Sequence[str], NDArray[np.generic]]]
    prompts: Mapping[str, tuple[str, ...]]
    reason: str | None = None


class StimulusUnion:
    """The distinct images and texts of several benchmarks, and where each benchmark finds its own."""

    def __init__(self, due: Iterable[PreparedBenchmark]) -> None:
        self.due = [p for p in due if p.reason is None]
        rows: dict[tuple[str, View, int], int] = {}  # first tile of an image, by id, view and number of tiles
        self._places: dict[str, tuple[list[str], NDArray[np.int64]]] = {}
        found: list[tuple[int, int]] = []
        sources: list[NDArray[np.generic]] = []
        for prepared in self.due:
            ids: list[str] = []
            starts: list[NDArray[np.int64]] = []
            for view, (names, array) in prepared.stimulus_images.items():
                tiles = array.shape[1]
                first = []
                for i, name in enumerate(names):
                    if (name, view, tiles) not in rows:
                        rows[name, view, tiles] = len(found)
                        found.extend((len(sources), i * tiles + t) for t in range(tiles))
                    first.append(rows[name, view, tiles])
                sources.append(array)
                ids.extend(names)
                starts.append(np.asarray(first, np.int64)[:, None] + np.arange(tiles))
            self._places[prepared.benchmark.key] = (ids, np.concatenate(starts))
        texts = {text: None for p in self.due for group in p.prompts.values() for text in group}
        self._texts = {text: i for i, text in enumerate(texts)}
        table = np.asarray(found, np.int64).reshape(-1, 2)
        self.request = EncodingRequest(sources, table, tuple(texts), self._layers(len(table)))

    def _layers(self, n: int) -> dict[Layer, NDArray[np.bool_]]:
        wanted: dict[Layer, NDArray[np.bool_]] = {}
        for prepared in self.due:
            _, places = self._places[prepared.benchmark.key]
            for layer in prepared.benchmark.layers:
                wanted.setdefault(layer, np.zeros(n, bool))[places.ravel()] = True
        return wanted

    def features(self, prepared: PreparedBenchmark, layer: Layer, answer: EncodedFeatures) -> Features:
        """A benchmark's own features out of the answer to all."""
        ids, places = self._places[prepared.benchmark.key]
        texts = [answer.texts[[self._texts[t] for t in group]] for group in prepared.prompts.values()]
        return Features(answer.images[layer][places], {name: i for i, name in enumerate(ids)}, class_means(texts))


def class_means(texts: Sequence[Array]) -> Array:
    """Per class the mean of its prompts' unit-norm embeddings, normed again: [K, D] from K times [T, D]."""
    if not texts:
        return np.zeros((0, 0), np.float32)
    means = np.stack([unit(group.astype(np.float64)).mean(axis=0) for group in texts])
    return unit(means).astype(np.float32)


def why_unusable(features: Features) -> str | None:
    """Why no score can be had from these features: not finite, or the same for all images (or prompts)."""
    for name, array in (("images", features.images), ("prompts", features.prompts)):
        if not array.size:
            continue
        if not np.isfinite(array).all():
            return f"the model's features of the {name} are not finite"
        flat = array.reshape(-1, array.shape[-1])
        if np.ptp(flat, axis=0).max() <= FLOAT32_NOISE * np.abs(flat).max():
            return f"the model gives all {name} the same features"
    return None


def outcome(union: StimulusUnion, prepared: PreparedBenchmark, answer: EncodedFeatures) -> BenchmarkResult:
    """Items and scores of one benchmark in all its layers; ContractError where it returns what cannot be recorded."""
    benchmark = prepared.benchmark
    if prepared.reason is not None:
        return BenchmarkResult(_in_all_layers(benchmark, prepared.reason))
    found: dict[str, Estimate] = {}
    notes: dict[str, float] = {}
    by_layer: dict[str, Items] = {}
    for layer in benchmark.layers:
        features, suffix = union.features(prepared, layer, answer), layer_suffix(layer)
        reason = why_unusable(features)
        if reason is None:
            items = benchmark.items(features)
            of_layer = estimates(benchmark, items)
            by_layer[suffix] = items
            notes.update({name + suffix: float(value) for name, value in items.notes.items()})
        else:
            of_layer = all_undefined(benchmark, reason)
        found.update({name + suffix: estimate for name, estimate in of_layer.items()})
    return BenchmarkResult(found, notes, merged(by_layer))


def benchmark_results(
    union: StimulusUnion, due: Iterable[PreparedBenchmark], answer: EncodedFeatures
) -> dict[str, BenchmarkResult]:
    """All due benchmarks by key. One that raises is null at this event, with what it raised as the reason.

    RunError with the benchmark's key where it breaks the contract at its first event; later on that counts as raising.
    """
    results: dict[str, BenchmarkResult] = {}
    for prepared in due:
        benchmark = prepared.benchmark
        try:
            results[benchmark.key] = outcome(union, prepared, answer)
        except ContractError as error:
            if not benchmark.scored:
                raise RunError(f"{benchmark.key}: {error}".replace("\n", " ")) from error
            results[benchmark.key] = failed(benchmark, error)
        except Exception as error:
            results[benchmark.key] = failed(benchmark, error)
        else:
            benchmark.scored = benchmark.scored or results[benchmark.key].items is not None
    return results


def failed(benchmark: Benchmark, error: Exception) -> BenchmarkResult:
    """Every score of the benchmark null in all layers, because of what was raised."""
    what = str(error) if isinstance(error, (UserError, ContractError)) else f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return BenchmarkResult(_in_all_layers(benchmark, " ".join(f"failed: {what}".split())), failure=trace)


def layer_suffix(layer: Layer) -> str:
    """What a key carries for a layer: nothing for the projection, ``@layer_6`` for block 6."""
    return "" if layer == PROJECTION else f"@layer_{layer}"


def _in_all_layers(benchmark: Benchmark, reason: str) -> dict[str, Estimate]:
    one = all_undefined(benchmark, reason)
    return {name + layer_suffix(layer): estimate for layer in benchmark.layers for name, estimate in one.items()}


def as_fields(results: Mapping[str, BenchmarkResult]) -> dict[str, float | str | None]:
    """The flat fields of an evaluation's line in the record: null with a reason where undefined."""
    fields: dict[str, float | str | None] = {}
    for key, result in results.items():
        for name, estimate in result.estimates.items():
            path = f"{key}/{name}"
            fields[path] = estimate.value
            if estimate.value is None:
                fields[f"{path}/reason"] = estimate.reason
                continue
            fields[f"{path}/low"], fields[f"{path}/high"] = estimate.low, estimate.high
        fields.update({f"{key}/{name}": float(value) for name, value in result.notes.items()})
    return fields
