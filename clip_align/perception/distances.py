# SPDX-License-Identifier: Apache-2.0
"""Distances between the embeddings of two images: what a model's judgement of a pair is.

All take features of the references and of the distorted images, float32 [P, V, D] (P pairs, V
tiles of the view, D features, not normalized), and return float64 [P]: the distance of each tile,
then the mean over the tiles. Averaging distances rather than embeddings keeps changes of opposite
sign in different tiles from cancelling. 0 = the same to the model; larger = more different. Where
features are not finite the distance is NaN; where the model gives every image the same features
all distances are 0: a score over either is undefined, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.metrics.vectors import FLOAT32_NOISE, unit

Distance = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
DistanceName = Literal["normalised_euclidean", "euclidean", "cosine"]

# A feature whose mean squared difference is this small beside the median feature's never changes but for
# float noise; dividing by it would blow the noise up to the weight of a working feature.
DEAD_BELOW_MEDIAN = 1e-6


@dataclass(frozen=True)
class Divisor:
    """Mean squared difference of each feature over all pairs and tiles, and which features are used.

    mean_square: float64 [D]; kept: bool [D].
    """

    mean_square: NDArray[np.float64]
    kept: NDArray[np.bool_]

    @property
    def dropped(self) -> int:
        """Number of features left out because they never change."""
        return int(np.count_nonzero(~self.kept))


def divisor(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> Divisor:
    """The divisor of ``normalised_euclidean``, to be taken once from the full set of pairs.

    ref, dist: [P, V, D]. Features below 1e-6 of the median feature's mean squared difference, and
    those that differ by no more than float32 rounding, are marked as not kept. Non-finite features
    are kept, so that they show as NaN distances rather than vanish.
    """
    _check(ref, dist)
    square = np.square(_difference(ref, dist)).mean(axis=(0, 1))  # [D]
    size = np.square(ref.astype(np.float64)).mean(axis=(0, 1))  # [D]
    with np.errstate(invalid="ignore"):  # the second: where all features are dead
        dead = (square < DEAD_BELOW_MEDIAN * np.median(square)) | (square <= FLOAT32_NOISE**2 * size)
    return Divisor(square, ~dead)


def normalised_euclidean(
    ref: NDArray[np.float32], dist: NDArray[np.float32], of: Divisor | None = None
) -> NDArray[np.float64]:
    """Root of the mean over features of the squared difference divided by that feature's mean.

    The mean squared difference of a feature is taken over all pairs and tiles given, so a pair's distance
    depends on the whole set: never call it on part of a benchmark. of: that divisor, where it is known
    already. Invariant to the scale of each feature. Without any feature that changes: 0 for every pair.
    Hernández-Cámara et al. 2024 ("Measuring Human-CLIP Alignment at Different Abstraction Levels", published code).
    """
    of = divisor(ref, dist) if of is None else of
    if not of.kept.any():
        return np.zeros(len(ref))
    weighted = np.square(_difference(ref, dist)[:, :, of.kept]) / of.mean_square[of.kept]
    return np.asarray(np.sqrt(weighted.mean(axis=2)).mean(axis=1))


def euclidean(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root of the mean over features of the squared difference, mean over tiles; unit of the features."""
    _check(ref, dist)
    return np.asarray(np.sqrt(np.square(_difference(ref, dist)).mean(axis=2)).mean(axis=1))


def cosine(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of the angle between the two embeddings, mean over tiles; 0 to 2, NaN for a zero vector.

    Computed as half the squared distance of the unit vectors, which is the same number without the
    cancellation: exactly 0 for equal vectors, and good to full precision for nearly equal ones.
    """
    _check(ref, dist)
    return np.asarray(
        (np.square(unit(ref.astype(np.float64)) - unit(dist.astype(np.float64))).sum(axis=2) / 2).mean(axis=1)
    )


DISTANCES: dict[DistanceName, Distance] = {
    "normalised_euclidean": normalised_euclidean,
    "euclidean": euclidean,
    "cosine": cosine,
}


def _check(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> None:
    if ref.ndim != 3 or ref.shape != dist.shape:
        raise ValueError(f"distances need two arrays [pairs, tiles, features], got {ref.shape} and {dist.shape}")


def _difference(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # inf - inf: NaN is the answer wanted
        return np.subtract(ref, dist, dtype=np.float64)
