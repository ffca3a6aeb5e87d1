# SPDX-License-Identifier: Apache-2.0
"""Encode images and texts in batches that are distributed over the ranks but do not depend on their number.

Rank k mod world encodes batch k and rank 0 gathers the results, so the numbers are the same on 1, 2 or 3 ranks.
Every rank takes part in every round of collectives, even after an error, which it reports at the end: otherwise the
other ranks would wait in a collective for ever.

A forward pass of a sharded model is a collective itself. All ranks then run the same passes in each round, which
follow from the request: a rank without a batch runs them on a blank image, or on the first text, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_align.errors import RunError
from clip_align.evaluation.batches import ImageBatch, image_batches
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluation_mode import gradients_kept
from clip_align.evaluation.inputs import CachedImages, ReadImages, input_images, normalized, read_images
from clip_align.evaluation.read_ahead import read_ahead
from clip_align.evaluation.reading import PROJECTION, MapReader, Reading, chosen_tokens
from clip_align.evaluation.reduce_pairs import reduced
from clip_align.evaluation.tokens import tokenized
from clip_align.evaluation.weights import OWN, Swap, WeightSet
from clip_align.models.layers import encode_layers, prefix_tokens
from clip_align.models.sharding import is_sharded
from clip_align.models.short_texts import encode_text, text_groups
from clip_align.processes.ranks import Ranks

Array = NDArray[np.float32]
Context = Callable[[], AbstractContextManager[Any]]
TableRows = tuple[NDArray[np.int64], NDArray[Any], tuple[int, int]]  # rows of a table, their values, its shape


@dataclass(frozen=True, eq=False)
class EncodingRequest:
    """The images, pairs and texts that one model encodes in an event.

    sources: arrays of cached images. rows: int64 [R, 2], for each distinct image the number of its source and its index
    among that source's N * V views.
    texts: distinct prompts.
    features: by reading, the rows whose features are kept (bool [R]).
    pairs: int64 [P, 2], distinct pairs of rows: reference, other.
    reductions: by reading, the pairs that are reduced (bool [P]).
    """

    sources: Sequence[CachedImages]
    rows: NDArray[np.int64]
    texts: Sequence[str]
    features: Mapping[Reading, NDArray[np.bool_]]
    pairs: NDArray[np.int64]
    reductions: Mapping[Reading, NDArray[np.bool_]]


class Table:
    """Some rows of a larger array [R, …]: only ``wanted`` ones (bool [R]) are allocated, on the first `put`."""

    def __init__(self, wanted: NDArray[np.bool_]) -> None:
        self.wanted = wanted
        self.values: NDArray[Any] | None = None  # [number of wanted rows, …]
        self.shape = (1, 0)  # of one row's features: tokens, width

    def put(self, rows: NDArray[np.int64], values: NDArray[Any], shape: tuple[int, int]) -> None:
        """Store rows; KeyError for one that is not ``wanted``.

        Args:
            rows: int64 [N], numbers of the rows.
            values: [N, …], the same type and width at every call.
            shape: tokens and width of one row's features.
        """
        if self.values is None:  # only now are type and width known
            self.values = np.empty((np.count_nonzero(self.wanted), *values.shape[1:]), values.dtype)
        self.values[self._places(rows)] = values
        self.shape = shape

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        if self.values is None:
            raise KeyError("no row was filled")
        found: NDArray[Any] = self.values[self._places(rows)]
        return found

    def _places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self.wanted[rows].all():
            raise KeyError("a row that is not wanted")
        places: NDArray[np.int64] = np.cumsum(self.wanted)[rows] - 1  # how many wanted rows precede each
        return places


class EncodedFeatures:
    """The result of an `EncodingRequest` with one set of weights: tables of its rows, pairs and texts, empty at first.

    features: by reading, float32 [T * D] for each row. squares: by reading, [D] for each pair (see
    `reduce_pairs.reduced`), float64 for a single token, else float32. norms: by reading, float64 [2] for each pair.
    sizes: by reading, float64 [D] for each row that is a reference. texts: float32 [D] for each text.
    """

    def __init__(self, request: EncodingRequest) -> None:
        self.features = {reading: Table(rows) for reading, rows in request.features.items()}
        self.squares = {reading: Table(pairs) for reading, pairs in request.reductions.items()}
        self.norms = {reading: Table(pairs) for reading, pairs in request.reductions.items()}
        self.sizes: dict[Reading, Table] = {}
        for reading, pairs in request.reductions.items():
            references = np.zeros(len(request.rows), bool)  # [R]
            references[request.pairs[pairs, 0]] = True
            self.sizes[reading] = Table(references)
        self.texts = Table(np.ones(len(request.texts), bool))


class _Part:
    """The results of one batch: rows of the tables that have the same names in `EncodedFeatures`."""

    def __init__(self) -> None:
        self.features: dict[Reading, TableRows] = {}
        self.squares: dict[Reading, TableRows] = {}
        self.norms: dict[Reading, TableRows] = {}
        self.sizes: dict[Reading, TableRows] = {}
        self.texts: TableRows | None = None

    def into(self, answer: EncodedFeatures) -> None:
        for rows_of, table_of in (
            (self.features, answer.features),
            (self.squares, answer.squares),
            (self.norms, answer.norms),
            (self.sizes, answer.sizes),
        ):
            for reading, rows in rows_of.items():
                table_of[reading].put(*rows)
        if self.texts is not None:
            answer.texts.put(*self.texts)


def encode(
    evaluated_model: EvaluatedModel,
    request: EncodingRequest,
    batch_size: int,
    ranks: Ranks,
    context: Context,
    interrupted: Callable[[], bool] = lambda: False,
    weights: Mapping[str, Swap] = OWN,
) -> dict[str, EncodedFeatures] | None:
    """Encode everything in ``request``, with each set of weights. RunError on all ranks if encoding fails on any.

    Args:
        evaluated_model: the model, in evaluation mode and without gradients (`evaluation_mode.evaluating`).
        request: images, pairs and texts; the same on all ranks.
        batch_size: images or texts per forward pass.
        ranks: the process group.
        context: the run's precision (autocast).
        interrupted: called between batches, equally often on every rank; must return the same value on all ranks.
        weights: sets of weights by name; images are read once for all of them.

    Returns:
        By set of weights, the features: complete on rank 0, empty elsewhere. None on all ranks once ``interrupted()``.
    """
    images = image_batches(len(request.rows), request.pairs, batch_size)
    texts = [np.arange(n, min(n + batch_size, len(request.texts))) for n in range(0, len(request.texts), batch_size)]
    sets = {name: WeightSet(evaluated_model.model, swap, ranks) for name, swap in weights.items()}
    answers = {name: EncodedFeatures(request) for name in weights}
    failure: list[Exception] = []
    device = evaluated_model.parameter.device
    # copies the next batch beside a forward pass
    copying = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    mine = range(ranks.rank, len(images), ranks.world)  # this rank's batches of images
    ahead = read_ahead(lambda n: read_images(request.sources, request.rows[images[n].rows], copying), mine)
    sharded = is_sharded(evaluated_model.model)
    # then no round has images on one rank and texts on another
    first_text = len(images) + (-len(images) % ranks.world if sharded else 0)
    with closing(ahead):  # also after an error or an interruption: no thread is left
        # round by round, batch ``start + k`` on rank k
        for start in range(0, first_text + len(texts), ranks.world):
            if interrupted():  # all ranks return together: it has the same value on each
                return None
            number = start + ranks.rank
            parts: dict[str, _Part] = {}
            try:
                # without a batch nothing is encoded, but this rank still takes part in the gathering
                if number < first_text:
                    batch = images[number] if number < len(images) and not failure else None
                    pixels = _pixels(evaluated_model, request, ahead, failure) if batch is not None else None
                    if sharded:
                        passes = _wanted(request, images[start : start + ranks.world])
                        batch = None if pixels is None else batch
                        pixels = _blank(evaluated_model) if pixels is None else pixels
                    else:
                        passes = _wanted(request, [batch] if batch is not None else [])
                    if pixels is not None:
                        parts = _images(evaluated_model, request, batch, pixels, passes, sets, context, failure)
                else:
                    own = texts[number - first_text] if number < first_text + len(texts) and not failure else None
                    if own is not None or sharded:
                        parts = _texts(evaluated_model, request, own, sets, context)
            except Exception as error:  # whatever the model raises: the other ranks wait in ``gather``
                if sharded:  # in the middle of a pass, where they wait as well: this rank's end is what ends theirs
                    raise
                failure.append(error)
            # gathered in each round, so that rank 0 never holds more than one round of other ranks' results
            gathered = ranks.gather(parts)  # of all ranks on rank 0, nothing elsewhere
            for name, part in ((name, part) for of_rank in gathered for name, part in of_rank.items()):
                try:
                    part.into(answers[name])
                except Exception as error:  # such as features of another width: rank 0 must not leave the loop
                    failure.append(error)
    ranks.together(lambda: _raise(failure), RunError, "encoding")
    return answers


def _raise(failure: Sequence[Exception]) -> None:
    for error in failure:  # the first one; later ones follow from it
        raise error


def _pixels(
    evaluated_model: EvaluatedModel, request: EncodingRequest, ahead: Iterator[ReadImages], failure: list[Exception]
) -> torch.Tensor | None:
    """The next batch as the model's input [B, 3, S, S]; None where it cannot be read, which is noted in ``failure``."""
    try:
        device = evaluated_model.parameter.device
        pixels = input_images(request.sources, next(ahead), evaluated_model.image_size, device)
        return normalized(pixels, evaluated_model)  # once for all sets of weights
    except Exception as error:
        failure.append(error)
        return None


def _blank(evaluated_model: EvaluatedModel) -> torch.Tensor:
    size = evaluated_model.image_size
    return normalized(torch.zeros((1, size, size, 3), dtype=torch.uint8), evaluated_model)


def _images(
    evaluated_model: EvaluatedModel,
    request: EncodingRequest,
    batch: ImageBatch | None,
    images: torch.Tensor,
    passes: Sequence[Reading],
    sets: Mapping[str, WeightSet],
    context: Context,
    failure: list[Exception],
) -> dict[str, _Part]:
    parts = {}
    for name, weights in sets.items():
        with weights.used(), context():
            parts[name] = _read(evaluated_model, request, batch, images, passes, failure)
    return parts


def _wanted(request: EncodingRequest, batches: Iterable[ImageBatch]) -> list[Reading]:
    """What is read of the images of any of some batches."""
    found: dict[Reading, None] = {}
    for batch in batches:
        found |= dict.fromkeys(r for r, rows in request.features.items() if rows[batch.rows[batch.first]].any())
        found |= dict.fromkeys(r for r, pairs in request.reductions.items() if pairs[batch.pairs].any())
    return list(found)


def _read(
    evaluated_model: EvaluatedModel,
    request: EncodingRequest,
    batch: ImageBatch | None,
    images: torch.Tensor,
    passes: Sequence[Reading],
    failure: list[Exception],
) -> _Part:
    """One forward pass over a batch; each layer is reduced as soon as it is computed, then dropped.

    Args:
        evaluated_model: the model.
        request: of the event.
        batch: what ``images`` are of; None: nothing is kept.
        images: [B, 3, S, S], normalized.
        passes: readings whose forward passes are run.
        failure: takes the errors of reading; a pass that has begun is completed.
    """
    part = _Part()
    wanted = _wanted(request, [batch] if batch is not None else [])
    prefix = prefix_tokens(evaluated_model.model)

    def take(source: int | str | MapReader, tokens: torch.Tensor, shape: tuple[int, int] | None = None) -> None:
        if batch is None:
            return
        try:
            for reading in (r for r in wanted if r.source == source):
                chosen = chosen_tokens(tokens, reading.tokens, prefix)  # [B, T, D]
                _reduce(part, request, batch, reading, chosen)
                _keep(part, request, batch, reading, chosen, shape or (chosen.shape[1], chosen.shape[2]))
        except Exception as error:
            failure.append(error)

    numbers = [r.source for r in passes if isinstance(r.source, int)]
    if numbers or any(r.source == PROJECTION for r in passes):
        embeddings = encode_layers(evaluated_model.model, images, numbers, take)
        if any(r.source == PROJECTION for r in passes):
            take(PROJECTION, _embeddings(embeddings, PROJECTION)[:, None])  # [B, 1, D]: one token
    # each reader once, whichever benchmarks use it
    for reader in dict.fromkeys(r.source for r in passes if isinstance(r.source, MapReader)):
        maps = _maps(reader, evaluated_model, images)  # [B, h, w]
        take(reader, maps.flatten(1)[:, :, None], (maps.shape[1], maps.shape[2]))  # places as tokens of width 1
    return part


def _keep(
    part: _Part,
    request: EncodingRequest,
    batch: ImageBatch,
    reading: Reading,
    features: torch.Tensor,
    shape: tuple[int, int],
) -> None:
    rows = request.features.get(reading)
    if rows is None:
        return
    here = batch.first & rows[batch.rows]  # bool [B]; a repeated row was kept in an earlier batch
    if here.any():
        # selected on the device, so that only wanted rows are copied to the host
        values = features[torch.from_numpy(np.flatnonzero(here)).to(features.device)].flatten(1).float().cpu().numpy()
        part.features[reading] = (batch.rows[here], values, shape)


def _reduce(part: _Part, request: EncodingRequest, batch: ImageBatch, reading: Reading, features: torch.Tensor) -> None:
    wanted = request.reductions.get(reading)
    pairs = batch.pairs[wanted[batch.pairs]] if wanted is not None else batch.pairs[:0]
    if not len(pairs):
        return
    rows = request.pairs[pairs]  # [P, 2]
    order = np.argsort(batch.rows)  # searchsorted needs sorted rows
    places = order[np.searchsorted(batch.rows, rows, sorter=order)]  # [P, 2], indices in the batch
    references = np.unique(places[:, 0])
    square, norms, sizes = reduced(features.float(), torch.from_numpy(places), torch.from_numpy(references))
    tokens, width = features.shape[1:]
    # a mean over tokens is kept in float32 (1 in 1e7): 3,000 pairs of ViT-L/14's 25 layers are .3 GB, not .6
    kept = square if tokens == 1 else square.astype(np.float32)
    part.squares[reading] = (pairs, kept, (tokens, width))
    part.norms[reading] = (pairs, norms, (1, 2))
    part.sizes[reading] = (batch.rows[references], sizes, (1, width))


def _maps(reader: MapReader, evaluated_model: EvaluatedModel, images: torch.Tensor) -> torch.Tensor:
    if reader.gradients:
        with torch.enable_grad(), gradients_kept(evaluated_model.model):
            # a copy, which the reader may change: other readers and sets of weights use the same images
            maps = reader.maps(evaluated_model.model, images.detach().clone().requires_grad_())
    else:
        maps = reader.maps(evaluated_model.model, images)
    if not isinstance(maps, torch.Tensor) or maps.ndim != 3 or len(maps) != len(images):
        got = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise RunError(f"a reader's maps are not a tensor [N, h, w] of the {len(images)} images but {got}")
    return maps.detach()


def _texts(
    evaluated_model: EvaluatedModel,
    request: EncodingRequest,
    numbers: NDArray[np.int64] | None,
    sets: Mapping[str, WeightSet],
    context: Context,
) -> dict[str, _Part]:
    """``numbers``: of the texts; None encodes the first one and keeps nothing."""
    model = evaluated_model.model
    chosen = np.zeros(1, np.int64) if numbers is None else numbers
    tokens = tokenized(evaluated_model, [request.texts[n] for n in chosen])  # [N, context]
    device = next(model.parameters()).device
    groups, tokens = text_groups(model, tokens, device), tokens.to(device)
    parts = {}
    for name, weights in sets.items():
        with weights.used(), context():
            embeddings = _embeddings(encode_text(model, tokens, groups), "text")
            parts[name] = part = _Part()
            if numbers is not None:
                part.texts = (numbers, embeddings.float().cpu().numpy(), (1, embeddings.shape[1]))
    return parts


def _embeddings(features: Any, what: str) -> torch.Tensor:
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        got = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise RunError(f"the model's features ({what}) are not a tensor [N, D] but {got}")
    return features
