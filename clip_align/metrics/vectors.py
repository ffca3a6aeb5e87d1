# SPDX-License-Identifier: Apache-2.0
"""Embeddings as vectors: their directions, and how close two of them are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOAT32_NOISE", "unit"]

FLOAT32_NOISE = 1e-6  # features closer than this, relative to their size, differ by float32 rounding alone


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [..., D] of length 1; NaN where one has no direction (zero, or not finite)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
