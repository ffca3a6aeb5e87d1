# SPDX-License-Identifier: Apache-2.0
"""What noise costs: accuracy on clean images (c) against accuracy on the same images with noise (n).

Three scales: the plain drop c - n; the relative drop (c - n)/c, which the paper calls normalized and which doubles
with nothing changing but accuracy, since it cannot exceed 1 - 1/(Kc); the corrected drop (c - n)/(c - 1/K), the
fraction of the above-chance accuracy that is lost. 0 = nothing lost; the corrected one is 1 when only chance is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.accuracy import why_no_decisions
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import t95

__all__ = ["corrected_drop", "drop", "relative_drop", "relative_drop_limit"]

WIDEST = 0.5  # width of the 95 % interval of the corrected drop up to which it is reported
MEANINGLESS = 2.0  # a width from which on the divisor, not the number of images, is what is uncertain

Cells = NDArray[np.float64]  # counts [..., 4]: right before and after, lost, gained, wrong before and after
Ratio = Callable[[Cells], NDArray[np.float64]]


def drop(clean: ArrayLike, noisy: ArrayLike, right: ArrayLike) -> Estimate:
    """Accuracy lost, c - n, in [-1, 1], with its paired interval.

    Args:
        clean: decisions [N] without noise, class indices; no decision (-1) counts as wrong.
        noisy: decisions [N] about the same images with noise, likewise.
        right: the right classes [N].

    Undefined without images, or where one of the two has no decisions at all; ValueError for unequal lengths.
    """
    reason = why_no_decisions(clean) or why_no_decisions(noisy)
    return undefined(reason) if reason else _paired(_drop, _cells(clean, noisy, right))


def corrected_drop(clean: ArrayLike, noisy: ArrayLike, right: ArrayLike, classes: int) -> Estimate:
    """(c - n)/(c - 1/K) with its paired interval: the fraction of the above-chance accuracy that is lost.

    Args:
        clean: decisions [N] without noise, class indices; no decision (-1) counts as wrong.
        noisy: decisions [N] about the same images with noise, likewise.
        right: the right classes [N].
        classes: K, the number of classes that the model chooses among; chance is 1/K.

    0 = nothing lost, 1 = only chance is left, below 0 where noise helps. Undefined where ``drop`` is, while c is not
    above chance, and while the interval is wider than .5.
    """
    reason = why_no_decisions(clean) or why_no_decisions(noisy)
    if reason:
        return undefined(reason)
    cells = _cells(clean, noisy, right)
    above_chance = float(_clean(cells)) - 1 / classes
    accuracy, chance = f"{float(_clean(cells)):.3f}".removeprefix("0"), f"{1 / classes:.3g}".removeprefix("0")
    if above_chance <= 0:
        return undefined(f"accuracy without noise, {accuracy}, is not above chance ({chance})")

    def ratio(v: Cells) -> NDArray[np.float64]:
        beyond = _clean(v) - 1 / classes
        # NaN, not a division by 0: a deletion without a value leaves the interval out
        return np.where(beyond > 0, _drop(v) / np.where(beyond > 0, beyond, 1.0), np.nan)

    estimate = _paired(ratio, cells)
    if estimate.low is None or estimate.high is None:
        return undefined("no interval: too few images above chance")
    width = estimate.high - estimate.low
    if width > WIDEST:  # of the two possible reasons, the one that applies
        before = _paired(_clean, cells)
        if width > MEANINGLESS or before.low is None or before.low <= 1 / classes:
            return undefined(f"accuracy hardly above chance ({accuracy} against {chance})")
        return undefined(f"its 95 % interval is {width:.2f} wide; drawn when below {WIDEST}")
    return estimate


def relative_drop(clean: ArrayLike, noisy: ArrayLike, right: ArrayLike, classes: int) -> Estimate:
    """(c - n)/c with its paired interval, the published definition; undefined where the corrected drop is.

    Args:
        clean: decisions [N] without noise, class indices; no decision (-1) counts as wrong.
        noisy: decisions [N] about the same images with noise, likewise.
        right: the right classes [N].
        classes: K, the number of classes that the model chooses among.

    At most ``relative_drop_limit`` unless noise leaves less than chance.
    """
    gate = corrected_drop(clean, noisy, right, classes)
    if gate.value is None:
        return undefined(str(gate.reason))

    def ratio(v: Cells) -> NDArray[np.float64]:
        return np.where(_clean(v) > 0, _drop(v) / np.where(_clean(v) > 0, _clean(v), 1.0), np.nan)

    return _paired(ratio, _cells(clean, noisy, right))


def relative_drop_limit(clean_accuracy: float, classes: int) -> float:
    """1 - 1/(Kc): the relative drop of a model that noise leaves nothing but chance; NaN where c is below chance."""
    above = math.isfinite(clean_accuracy) and clean_accuracy * classes >= 1
    return 1 - 1 / (classes * clean_accuracy) if above else math.nan


def _cells(clean: ArrayLike, noisy: ArrayLike, right: ArrayLike) -> Cells:
    c, n, answer = np.asarray(clean), np.asarray(noisy), np.asarray(right)
    if not c.shape == n.shape == answer.shape or c.ndim != 1:
        raise ValueError(f"decisions and answers must be lists of one length, got {c.shape}, {n.shape}, {answer.shape}")
    before, after = c == answer, n == answer  # -1, no decision, equals no class: wrong
    tables = (before & after, before & ~after, ~before & after, ~before & ~after)
    return np.array([np.count_nonzero(t) for t in tables], dtype=np.float64)


def _clean(cells: Cells) -> NDArray[np.float64]:
    # right before: right in both, and lost
    return np.asarray((cells[..., 0] + cells[..., 1]) / cells.sum(axis=-1))


def _drop(cells: Cells) -> NDArray[np.float64]:
    # c - n: lost less gained; images that stay right or wrong cancel
    return np.asarray((cells[..., 1] - cells[..., 2]) / cells.sum(axis=-1))


def _paired(ratio: Ratio, cells: Cells) -> Estimate:
    """Value with its jackknife interval over images, clean and noisy left out together, t(n - 1).

    Leaving out an image of one cell is the same for all of the cell, so that four deletions are the whole jackknife.
    With no lost and no gained image, or nothing else, a jackknife has no width; half an image is then added to each
    cell, for the interval alone (Agresti & Min 2005).
    """
    value = float(ratio(cells))
    n = float(cells.sum())
    half = _half_width(ratio, cells) if n > 1 else None  # one image: none is left after a deletion
    if half is None:
        return Estimate(value)
    if half == 0:  # all images in one cell, or in two of which the ratio is the same
        padded = cells + 0.5
        half, middle = _half_width(ratio, padded) or 0.0, float(ratio(padded))
        return Estimate(value, min(value, middle - half), max(value, middle + half))
    return Estimate(value, value - half, value + half)


def _half_width(ratio: Ratio, cells: Cells) -> float | None:
    n = float(cells.sum())
    there = cells > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        left = ratio(cells - np.eye(4))[there]  # one image less in each cell that has one
    if not np.isfinite(left).all():
        return None
    fraction = cells[there] / n  # the deletions of a cell are equal: weighted instead of repeated
    spread = float((fraction * (left - (fraction * left).sum()) ** 2).sum())
    return t95(n - 1) * math.sqrt((n - 1) * spread)
