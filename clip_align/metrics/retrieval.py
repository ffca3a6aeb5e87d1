# SPDX-License-Identifier: Apache-2.0
"""Retrieval of texts by images and of images by texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.accuracy import EQUAL_COSINES, NO_CHOICE, is_first
from clip_align.metrics.vectors import FLOAT32_NOISE, unit

__all__ = ["choices_among", "choices_and_first_among", "ranks_of_own"]

CHUNK = 256  # rows whose cosines are in memory at a time, four arrays of them: 0.2 GB for 25,000 targets


def choices_among(images: ArrayLike, texts: ArrayLike, candidates: ArrayLike) -> NDArray[np.int16]:
    """For each image the position [N] of the candidate text with the largest cosine; -1 for no decision.

    The first of equal ones wins. No decision where an image's cosines are not finite or all equal, and for all images
    where all of them have the same embedding.

    Args:
        images: embeddings [N, D].
        texts: embeddings [K, D].
        candidates: rows [N, C] of ``texts`` among which each image chooses.
    """
    return choices_and_first_among(images, texts, candidates, None, 0)[0]


def choices_and_first_among(
    images: ArrayLike, texts: ArrayLike, candidates: ArrayLike, own: ArrayLike | None, count: int
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """`choices_among` [N], and whether each image's own text is among the first ``count`` of its candidates [N].

    Args:
        images: embeddings [N, D].
        texts: embeddings [K, D].
        candidates: rows [N, C] of ``texts`` among which each image chooses.
        own: position [N] of the own text among the candidates; None: the second array is False throughout.
        count: of candidates that are looked at.

    The second array is False where a cosine is not finite; ties as by `choices_among`.
    """
    among = np.asarray(candidates, dtype=np.int64)
    at = None if own is None else np.asarray(own, dtype=np.int64)
    chosen, first = np.full(len(among), NO_CHOICE, dtype=np.int16), np.zeros(len(among), dtype=np.bool_)
    if not among.size:
        return chosen, first
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # such rows stay -1
        x, t = unit(np.asarray(images, dtype=np.float64)), unit(np.asarray(texts, dtype=np.float64))
        for start in range(0, len(among), CHUNK):
            rows = slice(start, start + CHUNK)
            cosines = np.take_along_axis(x[rows] @ t.T, among[rows], axis=1)  # [n, C]
            finite = np.asarray(np.isfinite(cosines).all(axis=1))
            known = np.where(finite[:, None], cosines, 0.0)
            decided = finite & (np.ptp(known, axis=1) > EQUAL_COSINES)
            chosen[rows] = np.where(decided, np.argmax(known, axis=1), NO_CHOICE)
            if at is not None:
                first[rows] = is_first(cosines, at[rows], count)
    directions = x[chosen >= 0]
    if len(directions) > 1 and np.ptp(directions, axis=0).max() <= FLOAT32_NOISE:
        chosen[:] = NO_CHOICE
    return chosen, first


def ranks_of_own(queries: ArrayLike, targets: ArrayLike, own: ArrayLike, of: ArrayLike) -> NDArray[np.float64]:
    """For each query the rank [Q], from 1, of its best own target among all targets by cosine; NaN for none.

    Targets whose cosine equals the best own one's count half, so that ties are worth what guessing among them is. NaN
    for a query whose cosines are not finite or all equal, and for all where all queries, or all targets, are equal.

    Args:
        queries: embeddings [Q, D].
        targets: embeddings [T, D].
        own: number [Q] of each query's owner (an image).
        of: number [T] of each target's owner; a target is a query's own where both are equal.
    """
    mine, theirs = np.asarray(own), np.asarray(of)
    ranks = np.full(len(mine), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        q, t = unit(np.asarray(queries, dtype=np.float64)), unit(np.asarray(targets, dtype=np.float64))
        for start in range(0, len(mine), CHUNK):
            rows = slice(start, start + CHUNK)
            cosines = q[rows] @ t.T  # [n, T]
            owned = mine[rows, None] == theirs[None]
            best = np.where(owned, cosines, -np.inf).max(axis=1)
            above = (cosines > best[:, None] + EQUAL_COSINES) & ~owned
            equal = (np.abs(cosines - best[:, None]) <= EQUAL_COSINES) & ~owned
            found = 1 + above.sum(axis=1) + equal.sum(axis=1) / 2
            usable = np.isfinite(cosines).all(axis=1) & np.isfinite(best) & (np.ptp(cosines, axis=1) > EQUAL_COSINES)
            ranks[rows] = np.where(usable, found, np.nan)
    if any(len(v) > 1 and np.ptp(v, axis=0).max() <= FLOAT32_NOISE for v in (q, t)):
        ranks[:] = np.nan
    return ranks
