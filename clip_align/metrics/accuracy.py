# SPDX-License-Identifier: Apache-2.0
"""Decisions among named classes, and how often they are right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.vectors import FLOAT32_NOISE, unit

__all__ = ["NO_CHOICE", "accuracy", "choices", "why_no_decisions", "wilson"]

NO_CHOICE = -1
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
EQUAL_COSINES = 1e-12  # far above the rounding of a float64 dot product of unit vectors


def choices(images: ArrayLike, prompts: ArrayLike) -> NDArray[np.signedinteger]:
    """Zero-shot decisions [N]: for images [N, D] the class whose prompt embedding [K, D] has the largest cosine.

    Class indices, int8 for up to 127 classes, int16 beyond; the first class wins a tie. -1 (no decision) where an
    image's cosines are not finite or all equal, and for all images where all of them have the same embedding: a
    collapsed model would otherwise be scored on the one class that it always returns.
    """
    x, p = np.asarray(images, dtype=np.float64), np.asarray(prompts, dtype=np.float64)
    # decisions of every image at every event are stored
    kind = np.int8 if len(p) <= np.iinfo(np.int8).max else np.int16
    if not len(x) or not len(p):
        return np.full(len(x), NO_CHOICE, dtype=kind)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # such rows become -1 below
        x, p = unit(x), unit(p)
        cosines = x @ p.T  # [N, K]
        finite = np.asarray(np.isfinite(cosines).all(axis=1))
        decided = finite & (np.ptp(np.where(finite[:, None], cosines, 0.0), axis=1) > EQUAL_COSINES)
    directions = x[decided]
    if len(directions) > 1 and np.ptp(directions, axis=0).max() <= FLOAT32_NOISE:
        decided[:] = False
    # argmax of a row with NaN is the NaN: such rows are replaced first
    return np.where(decided, np.argmax(np.where(decided[:, None], cosines, 0.0), axis=1), NO_CHOICE).astype(kind)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a fraction of ``hits`` in ``n`` independent trials; (0, 1) when n is 0.

    Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. Unlike resampling it keeps a width at 0 and 1.
    """
    if n <= 0:
        return 0.0, 1.0
    fraction, z2 = hits / n, Z95**2
    centre = (fraction + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(fraction * (1 - fraction) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


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
