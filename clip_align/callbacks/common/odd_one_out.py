# SPDX-License-Identifier: Apache-2.0
"""The common part of odd-one-out benchmarks: which of three images is least like the other two?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.common.image_choices import ImageChoices
from clip_align.errors import UserError, option_problem
from clip_align.metrics.choices import odd_one_out
from clip_align.perception.distances import PairDifferences

AT_A_TIME = 2**22  # values of a chunk of pairs, 32 MiB as float64
PAIRS = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Triplet:
    """One item: three images below ``root``, which of them people found odd (0 to 2), and its stratum."""

    name: str
    images: tuple[str, str, str]
    odd: int
    stratum: str


class OddOneOut(ImageChoices):
    """Choices of the odd one of three images, against people's; a subclass reads the triplets and calls `compare`.

    The model's choice is the image that the two with the smallest distance leave over. Ties: the pair which people left
    is nearest together with others (``half``: 1/2 of two, 1/3 of three). An image is in many triplets, so that
    embeddings are kept and not pairs' differences.

    Args:
        distance, ties, base: see `ImageChoices`.
    """

    def compare(self, triplets: Sequence[Triplet], root: Path, by: str, option: str) -> None:
        """Set the items and the scores.

        Args:
            triplets: with people's choices.
            root: folder that their paths are relative to.
            by: what the strata are; ``accuracy`` is the mean over them of their means.
            option: of the benchmark that names the images.

        UserError without a triplet, or if images are missing.
        """
        if not triplets:
            raise UserError(option_problem(self.key, option, "no triplets that these options keep"))
        if missing := self.find_images(root, (path for t in triplets for path in t.images)):
            what = f"{root} lacks {missing} of {len(self.images):,} images; get them again"
            raise UserError(option_problem(self.key, option, what))
        self.triplets, self.by = tuple(triplets), by
        self.scores = (
            self.headline(
                "accuracy",
                "odd one out as people",
                [t.stratum for t in triplets],
                by,
                direction="higher = finds the same image odd as people more often",
                chance=1 / 3,
                axis=(0.2, 1.0),
            ),
        )

    def items(self, features: Features) -> Items:
        """One item per triplet: whether the model agrees, and by how much the pair that people left is nearer."""
        rows = np.array([[self._id(path) for path in t.images] for t in self.triplets])  # [N, 3]
        first, second = (rows[:, [pair[k] for pair in PAIRS]].ravel() for k in (0, 1))
        compared = pair_differences(features, first.tolist(), second.tolist())
        distances = compared.distance(self.distance).reshape(-1, len(PAIRS))
        odd = np.array([t.odd for t in self.triplets])
        agreed, tied = odd_one_out(distances, odd, self.ties)
        left = np.arange(len(PAIRS)) == (2 - odd)[:, None]  # the pair without the odd one
        others = np.where(left, np.inf, distances).min(axis=1)
        same = bool((np.ptp(distances, axis=1) == 0).all())
        return Items(
            {"agreement": agreed, "nearer_by": others - distances[left]},
            odd,
            ids=[t.name for t in self.triplets],
            conditions={self.by: np.array([t.stratum for t in self.triplets])},
            notes={"ties": float(tied.sum())},
            reason=f"the three distances of all {len(odd):,} items are equal" if same else None,
        )


def pair_differences(features: Features, first: Sequence[str], second: Sequence[str]) -> PairDifferences:
    """The differences of pairs of images whose features are kept, chunk by chunk; mean over the tokens.

    Args:
        features: of one layer.
        first, second: ids of the pairs' images [P].
    """
    tokens, width = features.shape
    values = int(features[first[:1]][0].size)  # of one image: V * T * D
    step = max(1, AT_A_TIME // max(values, 1))
    square: list[NDArray[np.float64]] = []
    norms: list[NDArray[np.float64]] = []
    for start in range(0, len(first), step):
        a, b = (features[ids[start : start + step]].astype(np.float64) for ids in (first, second))  # [p, V, T * D]
        norms.append(np.stack([np.linalg.norm(x, axis=2) for x in (a, b)], axis=2))
        with np.errstate(invalid="ignore"):  # inf - inf: NaN is the answer wanted
            apart = np.square(a - b)
        square.append(apart.reshape(*apart.shape[:2], tokens, width).mean(axis=2))
    size = _mean_square(features.images.reshape(-1, width))
    return PairDifferences(np.concatenate(square), np.concatenate(norms), size, tokens)


def _mean_square(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean square of each column of [N, D], in chunks."""
    step = max(1, AT_A_TIME // rows.shape[1])
    parts = [np.square(rows[n : n + step], dtype=np.float64).sum(axis=0) for n in range(0, len(rows), step)]
    return np.asarray(np.sum(parts, axis=0) / len(rows))
