# SPDX-License-Identifier: Apache-2.0
"""Distances between the embeddings of two images: what a model's judgement of a pair is.

`PairDifferences` holds what all of them need and is what an evaluation reduces pairs to on the device; the functions
below take embeddings that are at hand.

They take features of the references and of the distorted images, float32 [P, V, D] (P pairs, V tiles of the view,
D features, not normalized), and return float64 [P]: the distance of each tile, then the mean over the tiles.
Averaging distances rather than embeddings keeps changes of opposite sign in different tiles from cancelling.
0 = the same to the model; larger = more different. Where features are not finite the distance is NaN; where the
model gives every image the same features all distances are 0: a score over either is undefined, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clip_align.metrics.vectors import FLOAT32_NOISE

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


@dataclass(frozen=True, eq=False)
class PairDifferences:
    """All that the distances of pairs of images need, however many tokens a layer has.

    square: float64 [P, V, D], squared difference of each feature, mean over the tokens.
    norms: float64 [P, V, 2], lengths of the reference and of the other, all tokens in one vector.
    size: float64 [D], mean square of each feature over the references' tokens.
    tokens: number of tokens; 1 for an embedding.

    The mean over the tokens comes first, as in the authors' normalized distance: a distance over all tokens in one
    vector, each place a feature of its own, is another measure.
    """

    square: NDArray[np.float64]
    norms: NDArray[np.float64]
    size: NDArray[np.float64]
    tokens: int = 1

    def __len__(self) -> int:
        return len(self.square)

    @cached_property
    def divisor(self) -> Divisor:
        """The divisor of ``normalised_euclidean`` over these pairs: the full set of a benchmark.

        Features below 1e-6 of the median feature's mean squared difference, and those that differ by no more than
        float32 rounding, are not kept. Non-finite features are, so that they show as NaN distances rather than vanish.
        """
        square = self.square.mean(axis=(0, 1))  # [D]
        with np.errstate(invalid="ignore"):  # the second: where all features are dead
            dead = (square < DEAD_BELOW_MEDIAN * np.median(square)) | (square <= FLOAT32_NOISE**2 * self.size)
        return Divisor(square, ~dead)

    @property
    def dots(self) -> NDArray[np.float64]:
        """Dot products [P, V] of the references and the others, all tokens in one vector."""
        whole = self.square.sum(axis=2) * self.tokens  # [P, V]: ``square`` is a mean over the tokens
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab
        return np.asarray((np.square(self.norms).sum(axis=2) - whole) / 2)

    def distance(self, name: DistanceName) -> NDArray[np.float64]:
        """The distance of that name, float64 [P], mean over the tiles; the set's own divisor where it needs one.

        ValueError for a name that is no distance's.
        """
        # a benchmark may take its name as a plain text: no other distance may stand in for it unseen
        if name not in get_args(DistanceName):
            raise ValueError(f"no distance {name!r}; valid: {', '.join(get_args(DistanceName))}")
        if name == "normalised_euclidean":
            return self.normalised_euclidean()
        return self.euclidean() if name == "euclidean" else self.cosine()

    def normalised_euclidean(self, of: Divisor | None = None) -> NDArray[np.float64]:
        """See the function of this name. of: the divisor, where it is known already."""
        of = self.divisor if of is None else of
        if not of.kept.any():  # every difference is 0, or float noise
            return np.zeros(len(self))
        weighted = self.square[:, :, of.kept] / of.mean_square[of.kept]  # [P, V, kept features]
        return np.asarray(np.sqrt(weighted.mean(axis=2)).mean(axis=1))

    def euclidean(self) -> NDArray[np.float64]:
        """See the function of this name; the mean is over features and tokens."""
        return np.asarray(np.sqrt(self.square.mean(axis=2)).mean(axis=1))

    def cosine(self) -> NDArray[np.float64]:
        """See the function of this name; all tokens in one vector.

        |a/|a| - b/|b||^2 / 2 = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|): without the cancellation of 1 - cosine.
        """
        whole, lengths = self.square.sum(axis=2) * self.tokens, self.norms
        with np.errstate(invalid="ignore", divide="ignore"):
            # half the squared length of the chord between the two directions [P, V]; 2 |a| |b| = 0 for a zero vector
            chord = (whole - np.square(lengths[:, :, 0] - lengths[:, :, 1])) / (2 * lengths.prod(axis=2))
            # maximum: rounding may leave it just below 0
            tiles = np.where(lengths.prod(axis=2) > 0, np.maximum(chord, 0), np.nan)
        return np.asarray(tiles.mean(axis=1))


def differences(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> PairDifferences:
    """The differences of embeddings [P, V, D], one token each."""
    if ref.ndim != 3 or ref.shape != dist.shape:
        raise ValueError(f"distances need two arrays [pairs, tiles, features], got {ref.shape} and {dist.shape}")
    norms = np.stack([np.linalg.norm(x.astype(np.float64), axis=2) for x in (ref, dist)], axis=2)  # [P, V, 2]
    size = np.square(ref.astype(np.float64)).mean(axis=(0, 1))  # [D]
    with np.errstate(invalid="ignore"):  # inf - inf: NaN is the answer wanted
        difference = np.subtract(ref, dist, dtype=np.float64)
    return PairDifferences(np.square(difference), norms, size)


def divisor(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> Divisor:
    """The divisor of ``normalised_euclidean`` [P, V, D], to be taken once from the full set of pairs."""
    return differences(ref, dist).divisor


def normalised_euclidean(
    ref: NDArray[np.float32], dist: NDArray[np.float32], of: Divisor | None = None
) -> NDArray[np.float64]:
    """Root of the mean over features of the squared difference divided by that feature's mean.

    The mean squared difference of a feature is taken over all pairs and tiles given, so a pair's distance
    depends on the whole set: never call it on part of a benchmark. of: that divisor, where it is known
    already. Invariant to the scale of each feature. Without any feature that changes: 0 for every pair.
    Hernández-Cámara et al. 2024 ("Measuring Human-CLIP Alignment at Different Abstraction Levels", published code).
    """
    return differences(ref, dist).normalised_euclidean(of)


def euclidean(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root of the mean over features of the squared difference, mean over tiles; unit of the features."""
    return differences(ref, dist).euclidean()


def cosine(ref: NDArray[np.float32], dist: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of the angle between the two embeddings, mean over tiles; 0 to 2, NaN for a zero vector.

    Exactly 0 for equal vectors, and good to full precision for nearly equal ones.
    """
    return differences(ref, dist).cosine()


DISTANCES: dict[DistanceName, Distance] = {
    "normalised_euclidean": normalised_euclidean,
    "euclidean": euclidean,
    "cosine": cosine,
}
