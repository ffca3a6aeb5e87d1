# SPDX-License-Identifier: Apache-2.0
"""Rank correlations with each cluster left out in turn, all deletions at once.

A jackknife over 24 clusters computes a correlation 24 times, and sorting takes most of each. Here both lists are
sorted once: after a deletion the rank of a value is its rank before, less the deleted items that are below it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.correlation import FEWEST_ITEMS

__all__ = ["srocc_deletions", "within_level_srocc_deletions"]

ELEMENTS = 1 << 20  # of the arrays [deletions, N] that are in memory together: 8 MiB each


def srocc_deletions(x: ArrayLike, y: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """``srocc`` of the items that are not in group 0, then not in group 1, …: [groups], each in [-1, 1].

    Args:
        x: model values [N].
        y: human values [N].
        groups: numbers [N] of the groups, from 0.

    NaN where it is undefined: fewer than three items left, one of the lists constant or not finite.
    """
    numbers = np.asarray(groups, dtype=np.intp)
    return _deletions(x, y, numbers, int(numbers.max(initial=-1)) + 1)


def within_level_srocc_deletions(
    x: ArrayLike, y: ArrayLike, level: ArrayLike, groups: ArrayLike
) -> NDArray[np.float64]:
    """``within_level_srocc`` of the items that are not in group 0, then not in group 1, …: [groups], in [-1, 1].

    Args:
        x: model values [N].
        y: human values [N].
        level: labels [N] of any type.
        groups: numbers [N] of the groups, from 0.

    NaN where one of the levels that are left has no value.
    """
    a, b, numbers = np.asarray(x), np.asarray(y), np.asarray(groups, dtype=np.intp)
    levels = np.unique(np.asarray(level), return_inverse=True)[1].ravel()
    count = int(numbers.max(initial=-1)) + 1
    total, left = np.zeros(count), np.zeros(count)
    for number in range(int(levels.max(initial=-1)) + 1):
        items = levels == number
        remains = np.count_nonzero(items) > np.bincount(numbers[items], minlength=count)  # else all of it is deleted
        values = _deletions(a[items], b[items], numbers[items], count)
        total[remains] += values[remains]
        left += remains
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is left
        return total / left


def _deletions(x: ArrayLike, y: ArrayLike, groups: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    codes = [np.unique(v, return_inverse=True)[1].ravel() for v in (a, b)]  # dense ranks from 0
    step = max(1, ELEMENTS // max(1, len(a)))
    parts = [_some(codes, groups, range(n, min(n + step, count))) for n in range(0, count, step)]
    values = np.concatenate(parts) if parts else np.empty(0)
    # a value that is not finite is only gone where its own group is
    bad = np.bincount(groups[~finite], minlength=count)
    values[bad < bad.sum()] = np.nan
    return values


def _some(codes: list[NDArray[np.intp]], groups: NDArray[np.intp], deleted: range) -> NDArray[np.float64]:
    kept = groups != np.arange(deleted.start, deleted.stop)[:, None]  # [deletions, N]
    n = np.count_nonzero(kept, axis=1)
    x, y = (np.where(kept, _ranks(code, groups, deleted) - (n[:, None] + 1) / 2, 0.0) for code in codes)
    products, squares_x, squares_y = (np.einsum("kn,kn->k", *pair) for pair in ((x, y), (x, x), (y, y)))
    with np.errstate(invalid="ignore"):  # 0 / 0 where a list is constant
        values = np.clip(products / np.sqrt(squares_x * squares_y), -1.0, 1.0)
    return np.where(n >= FEWEST_ITEMS, values, np.nan)


def _ranks(codes: NDArray[np.intp], groups: NDArray[np.intp], deleted: range) -> NDArray[np.float64]:
    """Midranks [deletions, N] of the items among those that a deletion keeps; of the deleted ones without meaning."""
    values = int(codes.max(initial=-1)) + 1
    here = (groups >= deleted.start) & (groups < deleted.stop)
    cells = (groups[here] - deleted.start) * values + codes[here]
    gone = np.bincount(cells, minlength=len(deleted) * values).reshape(len(deleted), values)
    left = np.bincount(codes, minlength=values) - gone  # [deletions, values]
    # the last rank of a value less half of its other items: the mean of its ranks
    ranks: NDArray[np.float64] = np.cumsum(left, axis=1) - (left - 1) / 2
    return ranks[:, codes]
