# SPDX-License-Identifier: Apache-2.0
"""The common part of odd-one-out benchmarks: which of three images is least like the other two?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.errors import UserError, option_problem
from clip_align.metrics.choices import Ties, mean_of_strata, odd_one_out
from clip_align.metrics.estimate import Estimate
from clip_align.perception.distances import DistanceName, PairDifferences
from clip_align.perception.image_files import read_rgb

NAMED = 3  # missing files that a message lists
AT_A_TIME = 2**22  # values of a chunk of pairs, 32 MiB as float64
PAIRS = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Triplet:
    """One item: three images below ``root``, which of them people found odd (0 to 2), and its stratum."""

    name: str
    images: tuple[str, str, str]
    odd: int
    stratum: str


class OddOneOut(PerceptualCallback):
    """Choices of the odd one of three images, against people's; a subclass reads the triplets and calls `compare`.

    The model's choice is the image that the two with the smallest distance leave over.

    Args:
        distance: of two embeddings: ``cosine``, ``euclidean`` or ``normalised_euclidean``, whose weights are those of
            all pairs of the benchmark.
        ties: what it counts that the pair which people left is nearest together with others: ``half`` (1/2 of two, 1/3
            of three), ``wrong`` or ``right``. Their number is recorded as ``ties``.
        base: arguments of `PerceptualCallback`.

    ``context``: accuracy of others' models, by name, and where it is from; by the protocol named there.
    """

    context: ClassVar[Mapping[str, float]] = MappingProxyType({})
    context_source: ClassVar[str] = ""

    def __init__(self, distance: DistanceName = "cosine", ties: Ties = "half", **base: Any) -> None:
        super().__init__(**base)
        self.distance, self.ties = distance, ties

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
        images = dict.fromkeys(path for t in triplets for path in t.images)
        absent = [path for path in images if not (root / path).is_file()]
        if absent:
            more = f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
            what = f"{root} lacks {', '.join(absent[:NAMED])}{more} of {len(images):,} images; get them again"
            raise UserError(option_problem(self.key, option, what))
        self.triplets, self.root, self.images, self.by = tuple(triplets), root, tuple(images), by
        several = len({t.stratum for t in triplets}) > 1
        self.scores = (
            Score(
                "accuracy",
                "odd one out as people",
                _accuracy,
                direction="higher = finds the same image odd as people more often",
                chance=1 / 3,
                unit=f"{len(triplets):,} triplets{f' within their {by}' if several else ''}, jackknife, t",
                axis=(0.2, 1.0),
                context=self.context,
                context_source=self.context_source,
                role="headline",
                higher_is_better=True,
                by=by if several else None,
            ),
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once; an image is in many triplets, so that embeddings are kept and not pairs' differences."""
        for path in self.images:
            yield Stimulus(self._id(path), partial(read_rgb, self.root / path), part=self.name)

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

    def _id(self, path: str) -> str:
        return f"{self.name}/{path}"


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


def _accuracy(items: Items) -> Estimate:
    """Mean over the strata, which are the only condition."""
    (strata,) = items.conditions.values()
    return mean_of_strata(items.model["agreement"], strata)
