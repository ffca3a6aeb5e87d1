# SPDX-License-Identifier: Apache-2.0
"""Identities of the distances, and cases worked by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.known_answer import KnownAnswer
from clip_align.perception.distances import PairDifferences, cosine, euclidean, normalised_euclidean

EXACT = 1e-6  # features are float32


def known_answers() -> Iterator[KnownAnswer]:
    """Distances of embeddings: identities and cases worked by hand."""
    zero, a, b = _pairs([0, 0]), _pairs([3, 4]), _pairs([4, -3])
    # root of the mean of 9 and 16
    yield KnownAnswer("euclidean, (0, 0) and (3, 4): root of 12.5", float(euclidean(zero, a)[0]), 3.5355339, EXACT)
    yield KnownAnswer("cosine, perpendicular", float(cosine(a, b)[0]), 1, EXACT)
    yield KnownAnswer("cosine, opposite", float(cosine(a, -a)[0]), 2, EXACT)
    yield KnownAnswer("cosine, same direction, three times the length", float(cosine(a, 3 * a)[0]), 0, EXACT)
    for name, distance in (
        ("euclidean", euclidean),
        ("cosine", cosine),
        ("normalised_euclidean", normalised_euclidean),
    ):
        yield KnownAnswer(f"{name}, equal embeddings", float(distance(a, a)[0]), 0, 0)
    # squared differences (4, 100) and (16, 300): means (10, 200); pair 1: (.4 + .5)/2, pair 2: (1.6 + 1.5)/2
    ref = _pairs([0, 0], [1, 5])
    other = ref + np.sqrt(np.array([[[4, 100]], [[16, 300]]], dtype=np.float32))
    for row, expected in enumerate((0.6708204, 1.2449900)):
        value = float(normalised_euclidean(ref, other)[row])
        yield KnownAnswer(f"normalised_euclidean, two pairs: root of {('.45', '1.55')[row]}", value, expected, EXACT)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(50, 1, 8)).astype(np.float32) for _ in range(2))
    scale = rng.uniform(0.1, 10, 8).astype(np.float32)
    change = np.abs(normalised_euclidean(x * scale, y * scale) - normalised_euclidean(x, y)).max()
    yield KnownAnswer("normalised_euclidean, features scaled: largest change", float(change), 0, 1e-5)
    mean_square = float(np.mean(np.square(normalised_euclidean(x, y))))
    yield KnownAnswer("normalised_euclidean, mean of its squares over the set", mean_square, 1, EXACT)
    # two tokens of two features, squared differences (2, 8) and (6, 0): their means over tokens are (4, 4)
    tokens = PairDifferences(np.array([[[4.0, 4.0]]]), np.ones((1, 1, 2)), np.ones(2), tokens=2)
    yield KnownAnswer("euclidean, two tokens: root of the mean over all", float(tokens.euclidean()[0]), 2, EXACT)


def _pairs(*embeddings: ArrayLike) -> NDArray[np.float32]:
    """Embeddings [P, 1, D] of a tile each."""
    return np.asarray(embeddings, dtype=np.float32)[:, None]
