# SPDX-License-Identifier: Apache-2.0
"""The model's features of the stimuli, as a benchmark receives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.distances import DistanceName, PairDifferences


class Pairs(Protocol):
    """Distances of the pairs that a benchmark declared, in the order of ``pairs()``.

    For a model these are `perception.distances.PairDifferences`; an observer without an embedding has one distance,
    which it returns under every name.
    """

    def __len__(self) -> int: ...

    def distance(self, name: DistanceName) -> NDArray[np.float64]:
        """Distances [P], averaged over the tiles; larger = more different."""
        ...


NO_PAIRS: Pairs = PairDifferences(np.zeros((0, 1, 0)), np.zeros((0, 1, 2)), np.zeros(0))  # P = 0, V = 1, D = 0


@dataclass(frozen=True)
class Features:
    """One layer's features of a benchmark's stimuli, and the embeddings of its prompts.

    images: float32 [N, V, D], not normalized; V is the number of tiles under the view ``tiles``, else 1. Stimuli in
        ``pairs()`` are not included: only the differences of their pairs are kept.
    rows: row of ``images`` by stimulus id.
    prompts: float32 [K, D], in the order of ``prompts()``: for each class the normalized mean of the unit-norm
        embeddings of its prompts; [0, 0] without prompts.
    pairs: distances of the declared pairs.
    shape: the two factors of D: tokens and width, (1, D) for the projection, rows and columns for a reader's maps;
        ``features[ids].reshape(P, V, *features.shape)`` separates them. Convolutional maps are tokens, row by row.
    """

    images: NDArray[np.float32]
    rows: Mapping[str, int]
    prompts: NDArray[np.float32]
    pairs: Pairs = NO_PAIRS
    shape: tuple[int, int] = (1, 0)

    def __post_init__(self) -> None:
        if self.shape == (1, 0):  # not given: one token of the whole width
            object.__setattr__(self, "shape", (1, self.images.shape[-1]))  # the class is frozen

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Features [P, V, D] of the stimuli ``ids``, in that order; KeyError for one that is in a pair or unknown."""
        try:
            return self.images[[self.rows[i] for i in ids]]
        except KeyError as error:
            why = "its pairs are in features.pairs" if len(self.pairs) else "stimuli() does not name it"
            raise KeyError(f"no features of {error.args[0]}: {why}") from None
