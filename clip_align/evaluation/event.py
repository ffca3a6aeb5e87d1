# SPDX-License-Identifier: Apache-2.0
"""One event: every distinct image is encoded once; rank 0 computes items and scores of all due benchmarks.

Independent of Lightning, the record and the step.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import RunError, UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.encode import Array, EncodedFeatures, EncodingRequest
from clip_align.evaluation.features import NO_PAIRS, Features
from clip_align.evaluation.inputs import CachedImages
from clip_align.evaluation.items import Items
from clip_align.evaluation.reading import PROJECTION, Layer, Reading
from clip_align.evaluation.scoring import BenchmarkResult, ContractError, all_undefined, estimates, merged
from clip_align.metrics.estimate import Estimate
from clip_align.metrics.vectors import FLOAT32_NOISE, unit
from clip_align.perception.distances import PairDifferences

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Kept:
    """Some images of a benchmark: ids, the cached array, and ``places`` [N], their rows in that array."""

    ids: Sequence[str]
    source: CachedImages
    places: Rows


@dataclass(frozen=True, eq=False)
class PreparedBenchmark:
    """A benchmark with its opened images: everything about it that is fixed during a run.

    images: all of its stimuli. prompts: texts by class. readings: what is read from the model, by layer. pairs: ids of
    (reference, other). reason: why all scores are null for this model (unknown words, …), else None.
    """

    benchmark: Benchmark
    images: Sequence[Kept]
    prompts: Mapping[str, tuple[str, ...]]
    readings: Mapping[Layer, Reading]
    pairs: Sequence[tuple[str, str]] = ()
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class _Own:
    """Positions of one benchmark's data in a union: rows [V] by stimulus id, numbers [P, V] of its pairs."""

    rows: Mapping[str, Rows]
    pairs: Rows
    alone: Sequence[str]  # stimuli that are in no pair


class StimulusUnion:
    """The distinct images, pairs and texts of several benchmarks, and the positions of each benchmark's own."""

    def __init__(self, due: Iterable[PreparedBenchmark]) -> None:
        self.due = [p for p in due if p.reason is None]
        table, sources = self._table()
        pairs: dict[tuple[int, int], int] = {}  # number of each distinct pair of rows, in order of appearance
        self._own: dict[str, _Own] = {}
        for prepared in self.due:
            rows = self._rows[prepared.benchmark.key]
            numbers = [
                [pairs.setdefault(both, len(pairs)) for both in zip(rows[a].tolist(), rows[b].tolist(), strict=True)]
                for a, b in prepared.pairs
            ]
            # of images in a pair only the differences are kept
            paired = {name for both in prepared.pairs for name in both}
            own = _Own(rows, np.asarray(numbers, np.int64), [name for name in rows if name not in paired])
            self._own[prepared.benchmark.key] = own
        texts = {text: None for p in self.due for group in p.prompts.values() for text in group}
        self._texts = {text: i for i, text in enumerate(texts)}
        features: dict[Reading, NDArray[np.bool_]] = {}
        reductions: dict[Reading, NDArray[np.bool_]] = {}
        for prepared in self.due:
            own = self._own[prepared.benchmark.key]
            for reading in prepared.readings.values():
                if own.alone:
                    wanted = features.setdefault(reading, np.zeros(len(table), bool))
                    wanted[np.concatenate([own.rows[name] for name in own.alone])] = True
                if own.pairs.size:
                    reductions.setdefault(reading, np.zeros(len(pairs), bool))[own.pairs.ravel()] = True
        both = np.asarray(list(pairs), np.int64).reshape(-1, 2)  # [P, 2] also for P = 0
        self.request = EncodingRequest(sources, table, tuple(texts), features, both, reductions)

    def _table(self) -> tuple[Rows, list[CachedImages]]:
        """Rows (source, place) of the distinct images, which differ in id, view or number of tiles; and the sources."""
        first: dict[tuple[str, str, int], int] = {}
        table: list[tuple[int, int]] = []
        sources: dict[int, tuple[int, CachedImages]] = {}
        self._rows: dict[str, dict[str, Rows]] = {}
        for prepared in self.due:
            rows = self._rows[prepared.benchmark.key] = {}
            for kept in prepared.images:
                number, source = sources.setdefault(id(kept.source), (len(sources), kept.source))
                tiles = source.images.shape[1]  # V
                for name, place in zip(kept.ids, kept.places.tolist(), strict=True):
                    image = (name, source.view, tiles)
                    if image not in first:
                        first[image] = len(table)
                        table.extend((number, place * tiles + tile) for tile in range(tiles))
                    rows[name] = first[image] + np.arange(tiles)
        return np.asarray(table, np.int64).reshape(-1, 2), [source for _, source in sources.values()]

    def features(self, prepared: PreparedBenchmark, layer: Layer, answer: EncodedFeatures) -> Features:
        """The features of one benchmark.

        Args:
            prepared: one of the benchmarks of this union.
            layer: one of ``prepared.readings``.
            answer: the encoded features of the whole union, on rank 0.
        """
        own, reading = self._own[prepared.benchmark.key], prepared.readings[layer]
        texts = [answer.texts[np.asarray([self._texts[t] for t in group])] for group in prepared.prompts.values()]
        images, shape = np.zeros((0, 1, 0), np.float32), (1, 0)
        if own.alone:
            rows = np.stack([own.rows[name] for name in own.alone])  # [N, V]
            images, shape = answer.features[reading][rows.ravel()], answer.features[reading].shape
            images = images.reshape(*rows.shape, -1)  # [N, V, T * D]
        pairs = NO_PAIRS
        if own.pairs.size:
            pairs = self._differences(own.pairs, reading, answer)
            shape = answer.squares[reading].shape
        return Features(images, {name: i for i, name in enumerate(own.alone)}, class_means(texts), pairs, shape)

    def _differences(self, numbers: Rows, reading: Reading, answer: EncodedFeatures) -> PairDifferences:
        squares = answer.squares[reading]
        flat, references = numbers.ravel(), self.request.pairs[numbers.ravel(), 0]
        # a reference counts once per pair, as if its features were averaged over all pairs
        rows, times = np.unique(references, return_counts=True)
        sizes = answer.sizes[reading][rows]
        return PairDifferences(
            squares[flat].reshape(*numbers.shape, -1).astype(np.float64, copy=False),
            answer.norms[reading][flat].reshape(*numbers.shape, 2),
            np.average(sizes, axis=0, weights=times),
            squares.shape[0],
        )


def class_means(texts: Sequence[Array]) -> Array:
    """Class embeddings [K, D]: the normalized mean of the unit-norm embeddings [T, D] of each class's prompts."""
    if not texts:
        return np.zeros((0, 0), np.float32)
    means = np.stack([unit(group.astype(np.float64)).mean(axis=0) for group in texts])
    return unit(means).astype(np.float32)


def why_unusable(features: Features) -> str | None:
    """Why no score can be computed from these features (not finite, or equal for all images or prompts), or None."""
    for name, array in (("images", features.images), ("prompts", features.prompts)):
        if not array.size:
            continue
        if not np.isfinite(array).all():
            return f"the model's features of the {name} are not finite"
        flat = array.reshape(-1, array.shape[-1])  # images and tiles as rows
        if np.ptp(flat, axis=0).max() <= FLOAT32_NOISE * np.abs(flat).max():
            return f"the model gives all {name} the same features"
    if len(features.pairs) and isinstance(features.pairs, PairDifferences):
        if not np.isfinite(features.pairs.norms).all():
            return "the model's features of the images are not finite"
        largest = FLOAT32_NOISE**2 * features.pairs.size.max()  # squared: both are mean squares
        if features.pairs.square.max() <= largest:
            return "the model gives both images of every pair the same features"
    return None


def outcome(
    union: StimulusUnion, prepared: PreparedBenchmark, answers: Mapping[str, EncodedFeatures]
) -> BenchmarkResult:
    """Items and scores of one benchmark in all its layers, with every set of weights.

    Args:
        union: the union that the benchmark is part of.
        prepared: the benchmark.
        answers: the encoded features by set of weights, on rank 0.

    ContractError if the benchmark returns something that cannot be recorded.
    """
    benchmark = prepared.benchmark
    if prepared.reason is not None:
        return BenchmarkResult(_everywhere(prepared, list(answers), prepared.reason))
    found: dict[str, Estimate] = {}
    notes: dict[str, float] = {}
    by_suffix: dict[str, Items] = {}
    for layer, weights, suffix in _variants(prepared, list(answers)):
        features = union.features(prepared, layer, answers[weights])
        reason = why_unusable(features)
        if reason is None:
            items = benchmark.items(features)
            of_variant = estimates(benchmark, items)
            by_suffix[suffix] = items
            notes.update({name + suffix: float(value) for name, value in items.notes.items()})
        else:
            of_variant = all_undefined(benchmark, reason)
        found.update({name + suffix: estimate for name, estimate in of_variant.items()})
    return BenchmarkResult(found, notes, merged(by_suffix))


def _variants(prepared: PreparedBenchmark, weights: Sequence[str]) -> Iterator[tuple[Layer, str, str]]:
    """Layer, set of weights and suffix of the keys; plain keys belong to the first set."""
    for number, name in enumerate(weights):
        for layer in prepared.readings or prepared.benchmark.layers:
            yield layer, name, layer_suffix(layer) + weight_suffix(number, name)


def benchmark_results(
    union: StimulusUnion, due: Iterable[PreparedBenchmark], answers: Mapping[str, EncodedFeatures]
) -> dict[str, BenchmarkResult]:
    """Results of all due benchmarks by key. If one raises, its scores are null at this event, with the error as reason.

    Args:
        union: the union of the due benchmarks.
        due: the benchmarks.
        answers: the encoded features by set of weights, on rank 0.

    RunError, naming the benchmark, for a breach of contract at its first event; later breaches are treated like any
    other error.
    """
    results: dict[str, BenchmarkResult] = {}
    for prepared in due:
        benchmark = prepared.benchmark
        try:
            results[benchmark.key] = outcome(union, prepared, answers)
        except ContractError as error:
            if not benchmark.scored:
                raise RunError(f"{benchmark.key}: {error}".replace("\n", " ")) from error
            results[benchmark.key] = failed(prepared, list(answers), error)
        except Exception as error:
            results[benchmark.key] = failed(prepared, list(answers), error)
        else:
            benchmark.scored = benchmark.scored or results[benchmark.key].items is not None
    return results


def failed(prepared: PreparedBenchmark, weights: Sequence[str], error: Exception) -> BenchmarkResult:
    """A result with every score null, in all layers and with all sets of weights.

    Args:
        prepared: the benchmark.
        weights: names of the sets of weights.
        error: what it raised: the reason of its scores, its traceback the ``failure``.
    """
    what = str(error) if isinstance(error, (UserError, ContractError)) else f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return BenchmarkResult(_everywhere(prepared, weights, " ".join(f"failed: {what}".split())), failure=trace)


def layer_suffix(layer: Layer) -> str:
    """Suffix of keys for a layer: none for the projection, ``@layer_6`` for layer 6, ``@<name>`` for a reader."""
    if layer == PROJECTION:
        return ""
    return f"@layer_{layer}" if isinstance(layer, int) else f"@{layer}"


def weight_suffix(number: int, name: str) -> str:
    """Suffix of keys for a set of weights: none for the first of an event (number 0), ``@<name>`` for the others."""
    return f"@{name}" if number else ""


def _everywhere(prepared: PreparedBenchmark, weights: Sequence[str], reason: str) -> dict[str, Estimate]:
    one = all_undefined(prepared.benchmark, reason)
    return {name + suffix: e for _, _, suffix in _variants(prepared, weights) for name, e in one.items()}


def as_fields(results: Mapping[str, BenchmarkResult]) -> dict[str, float | str | None]:
    """The fields of an evaluation line in the record: value, low and high by score; null and a reason if undefined."""
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
