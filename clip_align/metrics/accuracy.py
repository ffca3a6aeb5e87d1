# SPDX-License-Identifier: Apache-2.0
"""Decisions among named classes, and how often they are right."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.vectors import FLOAT32_NOISE, unit

__all__ = ["NO_CHOICE", "accuracy", "choices", "choices_and_first", "is_first", "why_no_decisions", "wilson"]

NO_CHOICE = -1
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
CHUNK = 4096  # images whose cosines to all classes are in memory at a time: 33 MB for 1,000 classes
EQUAL_COSINES = 1e-12  # far above the rounding of a float64 dot product of unit vectors


def choices(images: ArrayLike, prompts: ArrayLike) -> NDArray[np.signedinteger]:
    """Zero-shot decisions [N]: for images [N, D] the class whose prompt embedding [K, D] has the largest cosine.

    Class indices, int8 for up to 127 classes, int16 beyond; the first class wins a tie. -1 (no decision) where an
    image's cosines are not finite or all equal, and for all images where all of them have the same embedding: a
    collapsed model would otherwise be scored on the one class that it always returns.
    """
    return choices_and_first(images, prompts, None, 0)[0]


def choices_and_first(
    images: ArrayLike, prompts: ArrayLike, right: ArrayLike | None, count: int
) -> tuple[NDArray[np.signedinteger], NDArray[np.bool_]]:
    """`choices` [N], and whether the right class is among the first ``count`` by cosine [N]; ties as by `choices`.

    Args:
        images: embeddings [N, D].
        prompts: embeddings [K, D].
        right: numbers [N] of the right classes; None: the second array is False throughout.
        count: of classes that are looked at; 1: whether the decision is right.

    The second array is False where a cosine is not finite; it has values also where there is no decision.
    """
    x, p = np.asarray(images), np.asarray(prompts, dtype=np.float64)
    answers = None if right is None else np.asarray(right, dtype=np.int64)
    # decisions of every image at every event are stored
    kind = np.int8 if len(p) <= np.iinfo(np.int8).max else np.int16
    if not len(x) or not len(p):
        return np.full(len(x), NO_CHOICE, dtype=kind), np.zeros(len(x), dtype=np.bool_)
    parts = [slice(start, start + CHUNK) for start in range(0, len(x), CHUNK)]
    chunks = [_chosen(x[rows], p, None if answers is None else answers[rows], count) for rows in parts]
    choice: NDArray[np.signedinteger] = np.concatenate([chunk.choice for chunk in chunks]).astype(kind)
    decided = [chunk for chunk in chunks if (chunk.choice >= 0).any()]
    if decided and np.count_nonzero(choice >= 0) > 1:
        low, high = (np.stack(limits) for limits in zip(*((chunk.low, chunk.high) for chunk in decided), strict=True))
        if (high.max(axis=0) - low.min(axis=0)).max() <= FLOAT32_NOISE:
            choice[:] = NO_CHOICE
    return choice, np.concatenate([chunk.first for chunk in chunks])


def is_first(cosines: NDArray[np.float64], right: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Whether fewer than ``count`` columns come before the right one, by row [n].

    Args:
        cosines: [n, K]; of equal ones the first column comes first.
        right: numbers [n] of columns.
        count: of columns that are looked at.

    False where a cosine is not finite.
    """
    own = np.take_along_axis(cosines, right[:, None], axis=1)
    before = (cosines > own) | ((cosines == own) & (np.arange(cosines.shape[1]) < right[:, None]))
    return np.asarray((before.sum(axis=1) < count) & np.isfinite(cosines).all(axis=1))


class _Chosen(NamedTuple):
    """Decisions [N] about a chunk of images, and the limits [D] of the directions of those decided.

    first: whether the right class is among the first ones [N].
    """

    choice: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    first: NDArray[np.bool_]


def _chosen(images: NDArray[Any], prompts: NDArray[np.float64], right: NDArray[np.int64] | None, count: int) -> _Chosen:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # such rows become -1 below
        x, p = unit(np.asarray(images, dtype=np.float64)), unit(prompts)
        cosines = x @ p.T  # [N, K]
        finite = np.asarray(np.isfinite(cosines).all(axis=1))
        decided = finite & (np.ptp(np.where(finite[:, None], cosines, 0.0), axis=1) > EQUAL_COSINES)
        first = np.zeros(len(x), dtype=np.bool_) if right is None else is_first(cosines, right, count)
    # argmax of a row with NaN is the NaN: such rows are replaced first
    choice = np.where(decided, np.argmax(np.where(decided[:, None], cosines, 0.0), axis=1), NO_CHOICE)
    directions = x[decided] if decided.any() else np.zeros((1, x.shape[1]))
    return _Chosen(choice, directions.min(axis=0), directions.max(axis=0), first)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a fraction of ``hits`` in ``n`` independent trials; (0, 1) when n is 0.

    Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. Unlike resampling it keeps a width at 0 and 1.
    """
    if n <= 0:
        return 0.0, 1.0
    fraction, z2 = hits / n, Z95**2
    centre = (fraction + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(fraction * (1 - fraction) / n + z2 / (4 * n * n))
    # exact at both ends, where the differences leave rounding errors
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def accuracy(decisions: ArrayLike, right: ArrayLike) -> Estimate:
    """Fraction of right decisions, in [0, 1], with its Wilson interval; decisions and right answers [N], class indices.

    No decision (-1) is a wrong one; undefined where there are no images or no decisions at all.
    """
    chosen, answer = np.asarray(decisions), np.asarray(right)
    reason = why_no_decisions(chosen)
    if reason:
        return undefined(reason)
    hits = int(np.count_nonzero(chosen == answer))
    return Estimate(hits / len(chosen), *wilson(hits, len(chosen)))


def why_no_decisions(decisions: ArrayLike) -> str | None:
    """Why there is nothing to count, in words; None where at least one image was decided."""
    chosen = np.asarray(decisions)
    if not len(chosen):
        return "no images"
    if (chosen < 0).all():
        return f"no decisions: the embeddings of all {len(chosen):,} images are equal or not finite"
    return None
