# SPDX-License-Identifier: Apache-2.0
"""Reduce pairs of images on the device to what distances need, so that tokens are never copied to the host."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

CHUNK_ELEMENTS = 2**20  # of the float64 copies made at a time, 8 MiB each; much larger ones fragment the heap

Array = NDArray[np.float64]


def reduced(features: torch.Tensor, pairs: torch.Tensor, rows: torch.Tensor) -> tuple[Array, Array, Array]:
    """Differences of the ``pairs``, and sizes of the ``rows``, of one batch in one layer.

    Args:
        features: [B, T, D] on any device.
        pairs: int64 [P, 2], indices in the batch of the reference and of the other.
        rows: int64 [R], indices in the batch.

    Returns:
        float64 [P, D], squared differences, mean over the tokens; [P, 2], lengths of both images of each pair, all
        tokens in one vector; [R, D], mean square of each feature over the tokens.

    Differences and sums are computed in float64 (float32 on devices without it). Each pair is summed separately, so
    that its bits do not depend on the other pairs.
    """
    tokens, width = features.shape[1:]
    # sums over all tokens would lose digits in float32; mps has no float64
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    at_a_time = max(1, CHUNK_ELEMENTS // (tokens * width))
    square, norms = [], []
    for part in torch.split(pairs.to(features.device), at_a_time):
        a, b = features[part[:, 0]].to(exact), features[part[:, 1]].to(exact)  # [pairs of the chunk, T, D]
        norms.append(torch.stack([x.square().sum(dim=(1, 2)).sqrt() for x in (a, b)], dim=1))
        square.append(a.sub_(b).square_().mean(dim=1))  # in place: indexing has made copies
    sizes = [
        features[part].to(exact).square_().mean(dim=1) for part in torch.split(rows.to(features.device), at_a_time)
    ]
    return _on_host(square, width), _on_host(norms, 2), _on_host(sizes, width)


def _on_host(parts: list[torch.Tensor], width: int) -> Array:
    if not parts:  # torch.cat needs at least one tensor
        return np.zeros((0, width))
    array: Array = torch.cat(parts).double().cpu().numpy()
    return array
