# SPDX-License-Identifier: Apache-2.0
"""What the model made of the stimuli, as a benchmark sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clip_align.perception.distances import DistanceName, PairDifferences


class Pairs(Protocol):
    """The pairs that a benchmark declared, in the order of ``pairs()``: how different their images are.

    For a model these are `perception.distances.PairDifferences`; an observer without an embedding has one
    distance, which stands for all of them.
    """

    def __len__(self) -> int: ...

    def distance(self, name: DistanceName) -> NDArray[np.float64]:
        """Distances [P], larger = more different, mean over the tiles."""
        ...


NO_PAIRS: Pairs = PairDifferences(np.zeros((0, 1, 0)), np.zeros((0, 1, 2)), np.zeros(0))


@dataclass(frozen=True)
class Features:
    """Image embeddings of one benchmark's stimuli in one layer, and its prompts' embeddings.

    ``images`` is float32 [N, V, D], not normalized; V is the number of tiles of the view, else 1. Stimuli that are
    in ``pairs()`` are not among them: of these only the pairs' differences are kept.
    ``rows`` maps a stimulus id to its row. ``prompts`` is float32 [K, D]: per class the mean of the
    unit-norm embeddings of its prompts, normed again, in the order of ``prompts()``; [0, D] when
    the benchmark has none.
    ``pairs``: the differences of the pairs that the benchmark declares.
    ``shape``: what D is made of: tokens and width, (1, D) for the projection, rows and columns for a reader's maps;
    ``features[ids].reshape(P, V, *features.shape)`` takes it apart. Convolutional maps are tokens row by row.
    """

    images: NDArray[np.float32]
    rows: Mapping[str, int]
    prompts: NDArray[np.float32]
    pairs: Pairs = NO_PAIRS
    shape: tuple[int, int] = (1, 0)

    def __post_init__(self) -> None:
        if self.shape == (1, 0):
            object.__setattr__(self, "shape", (1, self.images.shape[-1]))

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [P, V, D] of the stimuli named, in that order; KeyError for one that is not kept."""
        try:
            return self.images[[self.rows[i] for i in ids]]
        except KeyError as error:
            why = "its pairs are in features.pairs" if len(self.pairs) else "stimuli() does not name it"
            raise KeyError(f"no features of {error.args[0]}: {why}") from None
