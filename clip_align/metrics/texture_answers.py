# SPDX-License-Identifier: Apache-2.0
"""Texture bias and agreement of observers whose answers are counted by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics import texture
from clip_align.metrics.agreement import cohens_kappa, error_consistency
from clip_align.metrics.estimate import Estimate

K, PER_PAIR = 16, 5


def known_answers() -> Iterator[KnownAnswer]:
    """Texture bias and kappa: observers whose answers are counted by hand."""
    shape, of_texture = (np.repeat(v.ravel(), PER_PAIR) for v in np.divmod(np.arange(K * K), K))
    conflict = shape != of_texture
    collapsed = texture.counts(np.full(len(shape), 3), shape, of_texture)
    yield count("conflict images of 16 x 16 classes", collapsed.n, 1200)
    yield count("one class always: S", collapsed.shape, 75)
    yield count("one class always: T", collapsed.texture, 75)
    # texture for every third conflict image, shape for the others
    third = np.arange(len(shape)) % 3 == 0
    mixed = np.where(third, of_texture, shape)
    expected = float(third[conflict].mean())
    yield KnownAnswer(
        "texture at every third image", _value(texture.texture_bias(mixed, shape, of_texture, K)), expected, 1e-12
    )
    # of the decisions a fifth are guesses: 14 of 16 of them name neither cue, and the correction takes the rest out
    rng = np.random.default_rng(0)
    guessed = np.where(rng.random(len(shape)) < 0.2, rng.integers(0, K, len(shape)), mixed)
    corrected = texture.texture_bias_corrected(guessed, shape, of_texture, K)
    yield KnownAnswer("the same with a fifth of guesses, corrected", _value(corrected), expected, 0.03)
    # 50 proposals of two readers: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no
    readers = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], (20, 5, 10, 15), axis=0).T
    yield KnownAnswer("kappa of 20, 5, 10, 15 answers", _value(cohens_kappa(*readers)), 0.4, 1e-12)
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], (6, 2, 1, 1), axis=0).T
    # c_obs .7, c_exp .8 x .7 + .2 x .3 = .62
    yield KnownAnswer(
        "error consistency, accuracies .8 and .7, .7 alike", _value(error_consistency(*right)), 0.08 / 0.38, 1e-12
    )
    yield KnownAnswer("error consistency with oneself", _value(error_consistency(right[0], right[0])), 1, 1e-12)
    yield KnownAnswer(
        "error consistency with the opposite", _value(error_consistency(right[0], 1 - right[0])), -0.32 / 0.68, 1e-12
    )


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value
