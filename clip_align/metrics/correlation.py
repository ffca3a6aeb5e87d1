# SPDX-License-Identifier: Apache-2.0
"""Agreement of two lists of numbers: rank and linear correlations in float64.

All are in [-1, 1], positive where both lists put items in the same order, 0 by chance; the sign is never dropped.
All are NaN where they are undefined (fewer than three items, a constant list, a value that is not finite);
``why_undefined`` says which. They agree with scipy.stats to 1e-10 and do not import it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.ranks import midranks

__all__ = [
    "content_srocc",
    "krocc",
    "level_shuffled",
    "plcc",
    "srocc",
    "type_permutation_sd",
    "why_undefined",
    "within_level_srocc",
]

FEWEST_ITEMS = 3


def why_undefined(x: ArrayLike, y: ArrayLike | None = None) -> str | None:
    """Why a correlation of x [N] (the model) with y [N] (people) has no value, in words; None where it has one."""
    for name, values in (("model", x), ("human", y)):
        if values is None:
            continue
        v = np.asarray(values, dtype=np.float64)
        bad = int(np.count_nonzero(~np.isfinite(v)))
        if len(v) < FEWEST_ITEMS:
            return f"{len(v)} items; a correlation needs at least {FEWEST_ITEMS}"
        if bad:
            return f"{bad:,} of {len(v):,} {name} values are not finite"
        if v.min() == v.max():
            return f"all {len(v):,} {name} values are equal"
    return None


def plcc(x: ArrayLike, y: ArrayLike) -> float:
    """Linear (Pearson) correlation of x [N] and y [N]; [-1, 1], NaN where ``why_undefined`` has a reason."""
    a, b = _pair(x, y)
    if why_undefined(a, b):
        return math.nan
    a, b = _centred(a), _centred(b)
    norms = math.sqrt(float(a @ a) * float(b @ b))  # one root: exactly 1 for a list and itself
    return min(1.0, max(-1.0, float(a @ b) / norms)) if norms > 0 else math.nan


def srocc(x: ArrayLike, y: ArrayLike) -> float:
    """Rank (Spearman) correlation of x [N] and y [N]: the linear one of their midranks.

    >>> srocc([1, 2, 3, 4], [10, 20, 20, 40])
    0.9486832980505138
    >>> srocc([1, 1, 1, 1], [1, 2, 3, 4])
    nan
    """
    a, b = _pair(x, y)
    return math.nan if why_undefined(a, b) else plcc(midranks(a), midranks(b))


def krocc(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b of x [N] and y [N]: (agreeing - disagreeing pairs) over those not tied. O(N log N)."""
    a, b = _pair(x, y)
    if why_undefined(a, b):
        return math.nan
    n = len(a)
    ra, rb = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]  # dense ranks from 0
    order = np.lexsort((rb, ra))
    pairs = n * (n - 1) // 2
    # the last argument: one label for each pair of values
    tied_a, tied_b, tied_both = _tied(ra), _tied(rb), _tied(ra * (int(rb.max()) + 1) + rb)
    # Knight 1966: sorted by a, disagreeing pairs are inversions of b; pairs tied in either list count for neither
    agree_minus_disagree = pairs - tied_a - tied_b + tied_both - 2 * _inversions(rb[order])
    # two roots: the product of the counts may leave the range in which floats hold every integer
    value = agree_minus_disagree / math.sqrt(pairs - tied_a) / math.sqrt(pairs - tied_b)
    return min(1.0, max(-1.0, value))


def within_level_srocc(x: ArrayLike, y: ArrayLike, level: ArrayLike) -> float:
    """Mean over the levels of the srocc of the items of that level: their ordering at equal level, in [-1, 1].

    Args:
        x: model values [N].
        y: human values [N].
        level: labels [N] of any type.

    NaN where one level has no value (fewer than three items, all equal): a mean over the others would be another
    score. ValueError where the lengths differ.
    """
    a, b = _pair(x, y)
    groups = _groups(level, len(a))
    return float(np.mean([srocc(a[g], b[g]) for g in groups])) if groups else math.nan


def content_srocc(x: ArrayLike, y: ArrayLike, condition: ArrayLike) -> float:
    """srocc of both lists minus the means of their conditions: what is left once the distortion is known; [-1, 1].

    Args:
        x: model values [N].
        y: human values [N].
        condition: labels [N] of any type (distortion type and level together).

    NaN where ``why_undefined`` has a reason, and where the means explain all of one list.
    """
    a, b = _pair(x, y)
    if why_undefined(a, b):
        return math.nan
    groups = np.unique(np.asarray(condition), return_inverse=True)[1].ravel()
    return srocc(_residual(a, groups), _residual(b, groups))


def level_shuffled(x: ArrayLike, y: ArrayLike, level: ArrayLike) -> float:
    """Mean srocc of x with y over all shuffles of y inside the levels: what knowing the level alone gives this model.

    Args:
        x: model values [N].
        y: human values [N].
        level: labels [N] of any type.

    The exact mean, not that of some shuffles: they leave the set of ranks as it is, so that the mean of the
    correlation is the correlation of x's ranks with the mean rank of each level, on y's scale. In [-1, 1]; NaN where
    ``why_undefined`` has a reason.
    """
    a, b = _pair(x, y)
    if why_undefined(a, b):
        return math.nan
    ra, rb = _centred(midranks(a)), _centred(midranks(b))
    together = sum(float(ra[g].sum() * rb[g].mean()) for g in _groups(level, len(a)))
    return together / float(np.linalg.norm(ra) * np.linalg.norm(rb))


def type_permutation_sd(
    x: ArrayLike, y: ArrayLike, kind: ArrayLike, level: ArrayLike, cluster: ArrayLike
) -> tuple[float, float]:
    """Standard deviations of (srocc, within-level srocc) over all permutations of the types of y, the same everywhere.

    The null distribution of a model that knows levels and images but not which distortion is which: with few types, a
    within-level value of two such deviations can arise by chance.

    Args:
        x: model values [N].
        y: human values [N].
        kind: labels [N] of the distortion type.
        level: labels [N].
        cluster: labels [N], of the reference image. The three labels name each item once and are completely crossed;
            (NaN, NaN) where they are not.

    Exact, without drawing permutations: the score is a sum over the types of a matrix entry that the permutation
    chooses, whose variance has a closed form (Hoeffding, Ann. Math. Stat. 22, 1951, 558-566).
    """
    a, b = _pair(x, y)
    axes = [np.unique(np.asarray(v), return_inverse=True)[1].ravel() for v in (level, kind, cluster)]
    shape = tuple(int(v.max()) + 1 for v in axes) if len(a) else (0, 0, 0)
    if why_undefined(a, b) or shape[1] < 2 or len(a) != math.prod(shape):
        return math.nan, math.nan
    order = np.lexsort(axes[::-1])  # sorted by level, then type, then cluster, so that a reshape crosses them
    if len(np.unique(np.ravel_multi_index(axes, shape))) != len(a):
        return math.nan, math.nan
    crossed_a, crossed_b = (v[order].reshape(shape) for v in (a, b))  # [levels, types, clusters]
    # for the pooled score all levels are one group, and a type's items are those of all its levels
    pooled = (v.transpose(1, 0, 2).reshape(1, shape[1], -1) for v in (crossed_a, crossed_b))
    return _permutation_sd(*pooled), _permutation_sd(crossed_a, crossed_b)


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two lists of the same length are needed, got shapes {a.shape} and {b.shape}")
    return a, b


def _centred(v: NDArray[np.float64]) -> NDArray[np.float64]:
    # Squares of huge or tiny values must stay finite; by a power of two, as any other factor rounds every value, which
    # is much where they differ by little.
    v = np.ldexp(v, -int(np.frexp(np.abs(v).max())[1]))
    v = v - v.mean()
    # a second time, now for spread: the squares of small differences about a large mean must not underflow
    top = np.abs(v).max()
    return v / top if top > 0 else v


def _residual(v: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    means = np.bincount(groups, weights=v) / np.bincount(groups)
    rest = v - means[groups]
    rounding = 8 * np.finfo(np.float64).eps * np.abs(v).max()  # else ranks would be made of rounding errors
    rest[np.abs(rest) <= rounding] = 0.0
    return rest


def _permutation_sd(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """sd, over permutations of b's types, of the mean over groups of srocc; a, b: [groups, types, items of each]."""
    table = np.zeros((a.shape[1], a.shape[1]))  # what type i of a and type j of b add to the score when they meet
    for x, y in zip(a, b, strict=True):
        if why_undefined(x.ravel(), y.ravel()):
            return math.nan
        rx, ry = (_centred(midranks(v.ravel())).reshape(x.shape) for v in (x, y))
        table += rx @ ry.T / (np.linalg.norm(rx) * np.linalg.norm(ry)) / len(a)
    # Hoeffding: the variance of a permuted sum is that of the doubly centred table
    table += table.mean() - table.mean(axis=0) - table.mean(axis=1, keepdims=True)
    return math.sqrt(float((table**2).sum()) / (len(table) - 1))


def _groups(labels: ArrayLike, n: int) -> list[NDArray[np.intp]]:
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"one label an item is needed: {n} items, labels of shape {values.shape}")
    inverse = np.unique(values, return_inverse=True)[1].ravel()
    order = np.argsort(inverse, kind="stable")
    # split of an empty list would be one empty group
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1]) if n else []


def _tied(labels: NDArray[np.intp]) -> int:
    counts = np.unique(labels, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _inversions(ranks: NDArray[np.intp]) -> int:
    """Pairs i < j with ranks[i] > ranks[j], ranks from 0: bit by bit, since the first bit that differs decides."""
    kind = np.uint16 if int(ranks.max()) < 65536 else np.uint64  # 16 bits are sorted by radix: fast
    small: NDArray[np.unsignedinteger] = ranks.astype(kind)
    total = 0
    for bit in reversed(range(int(small.max()).bit_length())):
        one = ((small >> bit) & 1).astype(np.int64)  # uint16 sums would overflow
        before = np.cumsum(one)
        prefix = small >> (bit + 1)  # equal prefixes lie together, in their first order
        starts = np.flatnonzero(np.concatenate(([True], prefix[1:] != prefix[:-1])))
        base = np.repeat(before[starts] - one[starts], np.diff(np.append(starts, len(small))))
        total += int(((before - base) * (1 - one)).sum())  # for each 0: the ones before it among equal prefixes
        small = small[np.argsort(small >> bit, kind="stable")]
    return total
