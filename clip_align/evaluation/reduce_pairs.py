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
    square, sums = [], []
    for part in torch.split(pairs, at_a_time):
        rows_used, places = _distinct(part)
        x = features[rows_used.to(features.device)].to(exact)  # [rows of the chunk, T, D]
        length = x.square().sum(dim=(1, 2))
        if places is None:  # one reference and its pairs: two thirds of the copies less
            sums.append(torch.stack([length[:1].expand(len(part)), length[1:]], dim=1))
            difference = x[1:].sub_(x[:1])
        else:
            places = places.to(features.device)
            sums.append(length[places])
            difference = x[places[:, 0]].sub_(x[places[:, 1]])  # in place: indexing has made copies
        square.append(difference.square_().mean(dim=1))
    sizes = [
        features[part].to(exact).square_().mean(dim=1) for part in torch.split(rows.to(features.device), at_a_time)
    ]
    # one root a batch, on the host: on the CPU each call wakes MKL's threads, which took as long as all sums
    norms = torch.from_numpy(_on_host(sums, 2)).sqrt().numpy()
    return _on_host(square, width), norms, _on_host(sizes, width)


def _distinct(pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The rows that some pairs [P, 2] need, and the places of both images of each pair among them [P, 2].

    Places are None where all pairs have one reference: then the rows are that and the other images, in their order.
    """
    if len(pairs) and bool((pairs[:, 0] == pairs[0, 0]).all()):
        return torch.cat([pairs[:1, 0], pairs[:, 1]]), None
    rows, places = torch.unique(pairs, return_inverse=True)
    return rows, places


def _on_host(parts: list[torch.Tensor], width: int) -> Array:
    if not parts:  # torch.cat needs at least one tensor
        return np.zeros((0, width))
    array: Array = torch.cat(parts).double().cpu().numpy()
    return array
