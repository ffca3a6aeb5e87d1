# SPDX-License-Identifier: Apache-2.0
"""The baseline without a model: each test image gets the shape of the nearest training image, in pixels.

A block of training images is searched while it is in memory, right after rendering; the results of blocks and shards
are merged. So no image is read a second time, and memory does not grow with the world.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Nearest = tuple[NDArray[np.float32], NDArray[np.int64]]  # of each test image: relative squared distance, shape


def nearest(test: NDArray[np.float32], pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Nearest:
    """The nearest of some training images to each test image, by Euclidean distance of pixel values.

    Args:
        test: test images [T, D], pixel values in [0, 1].
        pixels: training images [n, D], 0 to 255; D = height x width x 3.
        labels: their shapes [n].

    Returns:
        Squared distances [T], less the square of the test image itself (so they compare within a row only, and may be
        negative), and shapes [T]. Of equally near images the first one.
    """
    train = pixels.astype(np.float32) / np.float32(255)
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab as one matrix product; |a|^2 does not change which b is nearest.
    squares = (train**2).sum(axis=1) - 2 * test @ train.T  # [T, n]
    closest = squares.argmin(axis=1)
    return squares[np.arange(len(test)), closest], labels[closest]


def nearer(one: Nearest, other: Nearest) -> Nearest:
    """The nearest among both sets of training images; that of ``one`` where they are equally near."""
    other_wins = other[0] < one[0]  # [T]
    return np.where(other_wins, other[0], one[0]), np.where(other_wins, other[1], one[1])


def accuracy(found: Sequence[Nearest], truth: NDArray[np.int8]) -> float | None:
    """Fraction of the test images [T] whose nearest training image, over all shards, shows the true shape.

    None without shards: where only the held-out sets are rendered.
    """
    return float((reduce(nearer, found)[1] == truth).mean()) if found else None


def nearest_neighbour_accuracy(folder: Path) -> float | None:
    """The accuracy that was recorded when the world in ``folder`` was rendered, in [0, 1]; chance 1/16.

    None where only the held-out sets were rendered, and for a folder that was put together by hand.
    """
    facts = folder / "world.json"
    if not facts.is_file():
        return None
    recorded: float | None = json.loads(facts.read_text())["nearest_neighbour_accuracy"]
    return recorded
