# SPDX-License-Identifier: Apache-2.0
"""From cached images to the model's input: read, enlarged and normalized on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clip_align.evaluation.enlarge import enlarged
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.stimulus import View


@dataclass(frozen=True, eq=False)
class CachedImages:
    """Cached images [N, V, h, w, 3], uint8 or float32 in [0, 1], and their view.

    h and w are at most the model's input size; smaller images are enlarged when they are encoded.
    """

    images: NDArray[np.generic]
    view: View


@dataclass(frozen=True, eq=False)
class ReadImages:
    """A batch's images as they are cached, in the host's memory or on a GPU.

    rows: int64 [B, 2], number of the source and index among its N * V views. parts: by number of the source, its
    images [rows of the source, h, w, 3], in the order of ``rows``. copied: after this event a GPU has them; None: they
    are not on one.
    """

    rows: NDArray[np.int64]
    parts: Mapping[int, torch.Tensor]
    copied: torch.cuda.Event | None = None


def read_images(
    sources: Sequence[CachedImages], rows: NDArray[np.int64], stream: torch.cuda.Stream | None = None
) -> ReadImages:
    """Read a batch of images; may run in a thread of its own.

    Args:
        sources: cached images.
        rows: int64 [B, 2], number of the source and index among its N * V views.
        stream: on which the images are copied to its GPU, beside what the GPU computes; None: they stay on the host.
    """
    parts: dict[int, torch.Tensor] = {}
    for s in np.unique(rows[:, 0]).tolist():
        cached, tiles = sources[s].images, sources[s].images.shape[1]
        places = rows[rows[:, 0] == s, 1]
        # indexing reads these images from the memory map; uint8 is sent to the device, a quarter of float32
        parts[s] = torch.from_numpy(cached[places // tiles, places % tiles])
    if stream is None:
        return ReadImages(rows, parts)
    with torch.cuda.stream(stream):
        # a copy from pinned memory does not wait for the GPU; torch reuses that memory only after the copy
        on_gpu = {s: part.pin_memory().to(stream.device, non_blocking=True) for s, part in parts.items()}
        return ReadImages(rows, on_gpu, stream.record_event())


def input_images(sources: Sequence[CachedImages], read: ReadImages, size: int, device: torch.device) -> torch.Tensor:
    """A batch of images [B, size, size, 3] on the device: float32 if the images of any source are, else uint8.

    Args:
        sources: cached images.
        read: the batch, read from them.
        size: side of the model's input in px.
        device: of the result.
    """
    if read.copied is not None:
        computing = torch.cuda.current_stream(device)
        computing.wait_event(read.copied)
        for part in read.parts.values():
            part.record_stream(computing)  # their memory belongs to the copying stream, which could reuse it
    rows = read.rows
    parts: dict[int, torch.Tensor] = {}  # [rows of the source, size, size, 3]
    for s, part in read.parts.items():
        images = part.to(device)
        same = tuple(images.shape[1:3]) == (size, size)
        parts[s] = images if same else enlarged(images, sources[s].view, size)
    if len(parts) == 1:
        return next(iter(parts.values()))
    floats = any(part.dtype == torch.float32 for part in parts.values())
    batch = torch.empty((len(rows), size, size, 3), dtype=torch.float32 if floats else torch.uint8, device=device)
    for s, part in parts.items():
        here = torch.from_numpy(np.flatnonzero(rows[:, 0] == s)).to(device)  # rows of the batch
        batch[here] = part.float() / 255 if floats and part.dtype == torch.uint8 else part
    return batch


def normalized(pixels: torch.Tensor, evaluated_model: EvaluatedModel) -> torch.Tensor:
    """Pixels [B, S, S, 3] as the model's input [B, 3, S, S], in its memory format, on its device."""
    parameter = evaluated_model.parameter
    # mean and std are scaled instead of the pixels: one pass less over the batch
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    # float32 is explicit: a training may have changed torch's default dtype
    mean = torch.tensor(evaluated_model.mean, dtype=torch.float32, device=parameter.device) * scale
    std = torch.tensor(evaluated_model.std, dtype=torch.float32, device=parameter.device) * scale
    # bytes become float32 by the subtraction itself: another pass less
    images = pixels.to(parameter.device).sub(mean).div_(std).to(parameter.dtype)
    images = images.permute(0, 3, 1, 2)  # the permuted tensor is channels_last
    return images if _channels_last(evaluated_model.model) else images.contiguous()


def _channels_last(model: torch.nn.Module) -> bool:
    # of convolutions; one of 1 x 1 is contiguous in both formats, and does not count
    kernels = (p for p in model.parameters() if p.ndim == 4)
    return any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in kernels)
