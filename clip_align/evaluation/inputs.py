# SPDX-License-Identifier: Apache-2.0
"""From cached images to the model's input: read, enlarged and normalized on the device."""

from __future__ import annotations

from collections.abc import Sequence
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


def input_images(
    sources: Sequence[CachedImages], rows: NDArray[np.int64], size: int, device: torch.device
) -> torch.Tensor:
    """A batch of images [B, size, size, 3] on the device: float32 if the images of any source are, else uint8.

    Args:
        sources: cached images.
        rows: int64 [B, 2], number of the source and index among its N * V views.
        size: side of the model's input in px.
        device: of the result.
    """
    parts: dict[int, torch.Tensor] = {}  # [rows of the source, size, size, 3]
    for s in np.unique(rows[:, 0]).tolist():
        cached, tiles = sources[s].images, sources[s].images.shape[1]
        places = rows[rows[:, 0] == s, 1]
        # indexing reads these images from the memory map; uint8 is sent to the device, a quarter of float32
        images = torch.from_numpy(cached[places // tiles, places % tiles]).to(device)
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
    parameter = next(p for p in evaluated_model.model.parameters() if p.is_floating_point())
    # mean and std are scaled instead of the pixels: one pass less over the batch
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    images = pixels.to(parameter.device, torch.float32, copy=True)  # a copy: it is normalized in place
    # float32 is explicit: a training may have changed torch's default dtype
    mean = torch.tensor(evaluated_model.mean, dtype=torch.float32, device=images.device) * scale
    std = torch.tensor(evaluated_model.std, dtype=torch.float32, device=images.device) * scale
    images = images.sub_(mean).div_(std).to(parameter.dtype).permute(0, 3, 1, 2)  # the permuted tensor is channels_last
    return images if _channels_last(evaluated_model.model) else images.contiguous()


def _channels_last(model: torch.nn.Module) -> bool:
    # of convolutions; one of 1 x 1 is contiguous in both formats, and does not count
    kernels = (p for p in model.parameters() if p.ndim == 4)
    return any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in kernels)
