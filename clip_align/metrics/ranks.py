# SPDX-License-Identifier: Apache-2.0
"""Midranks, without importing scipy.stats (seconds of import time)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["midranks", "tie_edges"]


def tie_edges(ordered: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where each group of equal values starts in an ascending array [N], and N at the end: [groups + 1]."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return np.append(starts, len(ordered))


def midranks(x: ArrayLike) -> NDArray[np.float64]:
    """Ranks 1 to N of x [N] in ascending order; equal values share the mean of theirs. x must not hold NaN."""
    values = np.asarray(x, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    if not len(values):
        return np.empty(0)
    edges = tie_edges(values[order])
    ranks = np.empty(len(values))
    # ranks start + 1 … end of a group have the mean (start + end + 1)/2
    ranks[order] = np.repeat((edges[:-1] + edges[1:] + 1) / 2, np.diff(edges))
    return ranks
