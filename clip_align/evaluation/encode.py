# SPDX-License-Identifier: Apache-2.0
"""Ask a model about images and texts, dealt over the ranks in batches that never depend on them.

Batch k is done by rank k mod world and gathered to rank 0, so the numbers are the same on 1, 2, 3
ranks. Every rank goes through the same rounds whatever happens to it: a rank that fails says so at
the end, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_align.errors import RunError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.processes.ranks import Ranks

Layer = str | int
PROJECTION = "projection"
Array = NDArray[np.float32]
Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class EncodingRequest:
    """What one model is asked in an event.

    sources: arrays of images [N, V, S, S, 3], uint8, or float32 in [0, 1].
    rows: int64 [R, 2], for each distinct image its source and its place in that source's N * V.
    texts: distinct prompts.
    layers: ``projection`` or numbers of blocks, with the rows that each is wanted for (bool [R]).
    """

    sources: Sequence[NDArray[np.generic]]
    rows: NDArray[np.int64]
    texts: Sequence[str]
    layers: Mapping[Layer, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class EncodedFeatures:
    """Features float32 by layer [R, D] (rows not asked for in that layer are NaN), and of the texts [T, D]."""

    images: Mapping[Layer, Array]
    texts: Array


def encode(
    evaluated_model: EvaluatedModel,
    request: EncodingRequest,
    batch_size: int,
    ranks: Ranks,
    context: Context,
    interrupted: Callable[[], bool] = lambda: False,
) -> EncodedFeatures | None:
    """Rank 0 gets the answer, the others an empty one; None on all ranks when ``interrupted()``.

    ``interrupted`` is called on every rank equally often, between batches, and has to answer alike
    on all of them. ``context`` is the run's precision (autocast).
    """
    batches = [*_slices(len(request.rows), batch_size, "images"), *_slices(len(request.texts), batch_size, "texts")]
    mine: dict[int, Mapping[Layer, Array]] = {}
    failure: list[Exception] = []
    for start in range(0, len(batches), ranks.world):
        if interrupted():
            return None
        number = start + ranks.rank
        if number < len(batches) and not failure:
            kind, part = batches[number]
            try:
                with context():
                    mine[number] = (
                        _images(evaluated_model, request, part)
                        if kind == "images"
                        else _texts(evaluated_model, request, part)
                    )
            except Exception as error:
                failure.append(error)
    ranks.together(lambda: _raise(failure), RunError, "encoding")
    done = {number: answer for part in ranks.gather(mine) for number, answer in part.items()}
    return _assembled(request, batches, done)


def _raise(failure: Sequence[Exception]) -> None:
    for error in failure:
        raise error


def _slices(n: int, size: int, kind: str) -> list[tuple[str, slice]]:
    return [(kind, slice(start, min(start + size, n))) for start in range(0, n, size)]


def _images(evaluated_model: EvaluatedModel, request: EncodingRequest, part: slice) -> Mapping[Layer, Array]:
    wanted = [layer for layer, rows in request.layers.items() if rows[part].any()]
    images = normalized(gathered(request.sources, request.rows[part]), evaluated_model)
    answer: dict[Layer, torch.Tensor] = {}
    blocks = [layer for layer in wanted if isinstance(layer, int)]
    if blocks:
        from clip_align.models.layers import block_features  # only where blocks are asked for

        for block, features in block_features(evaluated_model.model, images, blocks).items():
            answer[block] = features
    if PROJECTION in wanted:
        answer[PROJECTION] = evaluated_model.model.encode_image(images)  # type: ignore[operator]  # [B, D]
    return {layer: _on_host(found, layer) for layer, found in answer.items()}


def _texts(evaluated_model: EvaluatedModel, request: EncodingRequest, part: slice) -> Mapping[Layer, Array]:
    if evaluated_model.tokenizer is None:
        raise RunError("prompts need a tokenizer, and the model has none")
    tokens = evaluated_model.tokenizer(list(request.texts[part]))
    device = next(evaluated_model.model.parameters()).device
    return {PROJECTION: _on_host(evaluated_model.model.encode_text(tokens.to(device)), "text")}  # type: ignore[operator]


def _on_host(features: Any, layer: Layer) -> Array:
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        got = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise RunError(f"the model's features ({layer}) are not a tensor [N, D] but {got}")
    array: Array = features.float().cpu().numpy()
    return array


def gathered(sources: Sequence[NDArray[np.generic]], rows: NDArray[np.int64]) -> NDArray[np.generic]:
    """The images [B, S, S, 3] of ``rows``; float32 as soon as one of them is."""
    used = np.unique(rows[:, 0])
    if len(used) == 1:
        return _flat(sources[used[0]])[rows[:, 1]]
    parts = {s: _flat(sources[s])[rows[rows[:, 0] == s, 1]] for s in used}
    float_like = any(part.dtype == np.float32 for part in parts.values())
    batch = np.empty((len(rows), *next(iter(parts.values())).shape[1:]), np.float32 if float_like else np.uint8)
    for s, part in parts.items():
        batch[rows[:, 0] == s] = part / np.float32(255) if float_like and part.dtype == np.uint8 else part
    return batch


def _flat(source: NDArray[np.generic]) -> NDArray[np.generic]:
    return source.reshape(-1, *source.shape[2:])


def normalized(batch_images: NDArray[np.generic], evaluated_model: EvaluatedModel) -> torch.Tensor:
    """Images [B, S, S, 3] as the model's input [B, 3, S, S], in its memory format, on its device."""
    parameter = next(p for p in evaluated_model.model.parameters() if p.is_floating_point())
    scale = 255.0 if batch_images.dtype == np.uint8 else 1.0
    images = torch.from_numpy(batch_images).to(parameter.device).float()
    mean = (
        torch.tensor(evaluated_model.mean, dtype=torch.float32, device=images.device) * scale
    )  # whatever torch's default is
    std = torch.tensor(evaluated_model.std, dtype=torch.float32, device=images.device) * scale
    images = images.sub_(mean).div_(std).to(parameter.dtype).permute(0, 3, 1, 2)  # a channels_last tensor as it is
    return images if _channels_last(evaluated_model.model) else images.contiguous()


def _channels_last(model: torch.nn.Module) -> bool:
    kernels = (p for p in model.parameters() if p.ndim == 4)
    return any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in kernels)


def _assembled(
    request: EncodingRequest, batches: Sequence[tuple[str, slice]], done: Mapping[int, Mapping[Layer, Array]]
) -> EncodedFeatures:
    images: dict[Layer, Array] = {}
    texts = np.zeros((len(request.texts) if done else 0, 0), np.float32)
    for number, (kind, part) in enumerate(batches if done else ()):
        for layer, features in done[number].items():
            if kind == "texts":
                if not texts.shape[1]:
                    texts = np.empty((len(request.texts), features.shape[1]), np.float32)
                texts[part] = features
                continue
            if layer not in images:
                images[layer] = np.full((len(request.rows), features.shape[1]), np.nan, np.float32)
            images[layer][part] = features
    return EncodedFeatures(images, texts)
