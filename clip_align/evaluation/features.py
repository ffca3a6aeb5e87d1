# SPDX-License-Identifier: Apache-2.0
"""What the model made of the stimuli, as a benchmark sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Features:
    """Image embeddings of one benchmark's stimuli in one layer, and its prompts' embeddings.

    ``images`` is float32 [N, V, D], not normalized; V is the number of tiles of the view, else 1.
    ``rows`` maps a stimulus id to its row. ``prompts`` is float32 [K, D]: per class the mean of the
    unit-norm embeddings of its prompts, normed again, in the order of ``prompts()``; [0, D] when
    the benchmark has none.
    """

    images: NDArray[np.float32]
    rows: Mapping[str, int]
    prompts: NDArray[np.float32]

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [P, V, D] of the stimuli named, in that order; KeyError for one not asked for."""
        return self.images[[self.rows[i] for i in ids]]
