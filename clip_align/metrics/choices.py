# SPDX-License-Identifier: Apache-2.0
"""Choices among images compared with people's: which of two is more like a reference, which of three is the odd one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import stratified_jackknife_of_sums

__all__ = ["Ties", "agreement_of_two", "mean_of_strata", "odd_one_out"]

Array = NDArray[np.float64]
Ties = Literal["half", "wrong", "right"]


def agreement_of_two(to_first: ArrayLike, to_second: ArrayLike, people: ArrayLike, ties: Ties = "half") -> Array:
    """How many people choose as the model does, by item [N].

    Args:
        to_first, to_second: the model's distances of the reference to both images [N].
        people: fraction of people who found the second one more like the reference [N].
        ties: of equal distances: ``half`` (1/2, whatever people chose), ``wrong`` (0) or ``right`` (1).

    1 - p where the first one is nearer to the model, p where the second one is. NaN for a distance that is not finite.
    """
    a, b, p = (np.asarray(v, dtype=np.float64) for v in (to_first, to_second, people))
    agreed = np.select([a < b, b < a, a == b], [1 - p, p, {"half": 0.5, "wrong": 0.0, "right": 1.0}[ties]], np.nan)
    return np.where(np.isfinite(a) & np.isfinite(b), agreed, np.nan)


def odd_one_out(distances: ArrayLike, odd: ArrayLike, ties: Ties = "half") -> tuple[Array, NDArray[np.bool_]]:
    """Whether the model finds the same image of three odd as people did, by item [N]; and where it is undecided.

    Args:
        distances: of the model between images 1 and 2, 1 and 3, 2 and 3: [N, 3].
        odd: which one people chose, 0 to 2 [N]; the other two are the pair that they found most alike.
        ties: where that pair is nearest together with others: ``half`` (1/2 of two, 1/3 of three), ``wrong`` or
            ``right``.

    Returns:
        1 where the pair alone has the smallest distance, 0 where another is nearer, NaN where one is not finite; and
        the items in which the smallest distance occurs more than once.
    """
    d, chosen = np.asarray(distances, dtype=np.float64), np.asarray(odd, dtype=np.intp)
    nearest = d == d.min(axis=1, keepdims=True)  # [N, 3]; all False for NaN
    count = nearest.sum(axis=1)
    # without image 3 pair 1-2 is left, without 2 pair 1-3, without 1 pair 2-3
    hit = nearest[np.arange(len(d)), 2 - chosen]
    of_tie = {"half": 1 / np.maximum(count, 1), "wrong": np.zeros(len(d)), "right": np.ones(len(d))}[ties]
    agreed = np.where(hit, np.where(count > 1, of_tie, 1.0), 0.0)
    return np.where(np.isfinite(d).all(axis=1), agreed, np.nan), count > 1


def mean_of_strata(values: ArrayLike, strata: ArrayLike) -> Estimate:
    """Mean over the strata of their mean value, with the 95 % interval for new items of the same strata; in [0, 1].

    Args:
        values: of the items [N].
        strata: label of each item's stratum [N]; with one label it is the plain mean.

    Undefined without items or where a value is not finite.
    """
    v, index = np.asarray(values, dtype=np.float64), np.unique(np.asarray(strata), return_inverse=True)[1].ravel()
    if not len(v):
        return undefined("no items")
    wrong = int(np.count_nonzero(~np.isfinite(v)))
    if wrong:
        return undefined(f"the model's distances of {wrong:,} of {len(v):,} items are not finite")
    member = index[:, None] == np.arange(index.max() + 1)  # [N, strata]
    columns = np.concatenate([v[:, None] * member, member], axis=1)

    def statistic(sums: Array) -> Array:
        above, below = np.split(sums, 2, axis=-1)
        return np.asarray((above / below).mean(axis=-1))

    value = float(statistic(columns.sum(axis=0)))
    half = stratified_jackknife_of_sums(statistic, columns, index)
    return Estimate(value) if half is None else Estimate(value, max(0.0, value - half), min(1.0, value + half))
