# SPDX-License-Identifier: Apache-2.0
"""Items: what a score is computed over (pairs, triplets, images, trials)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Column = NDArray[Any]  # numbers or names


@dataclass(frozen=True, eq=False, init=False)
class Items:
    """A table of N items, one per row.

    Args:
        model: the model's values [N] by name, the headline one first: float64, higher = better according to the model
            (for pairs: minus the distance). Decisions are int8 (int16 beyond 127 classes), named ``choice…``, -1 for
            none. An array is taken as ``{"value": array}``.
        human: float64 [N], the human value of each item (opinion, or the index of the correct class).
        ids: unique names; default: ``0``, ``1``, ….
        clusters: labels [N] of the clusters that intervals resample, by name, the headline unit first
            (``{"reference": …, "type": …}``). A sequence is taken as ``{"cluster": …}``; None: one cluster per item.
        conditions: further columns [N] for items.csv (level, set, …).
        notes: further numbers of this evaluation, recorded as ``<key>/<note>`` (dropped features, …).
        reason: why the model cannot be evaluated: every score is then undefined. None: it can.

    ValueError for columns of unequal length, no values of the model, or ids that are not unique.
    """

    model: Mapping[str, Column]
    human: NDArray[np.float64]
    ids: tuple[str, ...]
    clusters: Mapping[str, Column]
    conditions: Mapping[str, Column]
    notes: Mapping[str, float]
    reason: str | None

    def __init__(
        self,
        model: Mapping[str, ArrayLike] | ArrayLike,
        human: ArrayLike,
        ids: Sequence[str] | None = None,
        clusters: Mapping[str, ArrayLike] | Sequence[object] | Column | None = None,
        conditions: Mapping[str, ArrayLike] | None = None,
        notes: Mapping[str, float] | None = None,
        reason: str | None = None,
    ) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the class is frozen

        values: Mapping[str, ArrayLike] = model if isinstance(model, Mapping) else {"value": model}
        arrays = {k: np.asarray(v) for k, v in values.items()}
        # decisions stay small integers: the items of every event are stored
        put("model", {k: a if a.dtype in (np.int8, np.int16) else a.astype(np.float64) for k, a in arrays.items()})
        put("human", np.asarray(human, dtype=np.float64))
        n = len(self.human)
        put("ids", tuple(map(str, range(n) if ids is None else ids)))
        if clusters is None:
            clusters = {"item": np.arange(n)}
        elif not isinstance(clusters, Mapping):
            clusters = {"cluster": np.asarray(clusters)}
        put("clusters", {k: np.asarray(v) for k, v in clusters.items()})
        put("conditions", {k: np.asarray(v) for k, v in (conditions or {}).items()})
        put("notes", dict(notes or {}))
        put("reason", reason)
        columns: dict[str, Sized] = {**self.model, **self.clusters, **self.conditions, "ids": self.ids}
        for name, column in columns.items():
            if len(column) != n:
                raise ValueError(f"items: {name} has {len(column)} rows, human has {n}")
        if not self.model:
            raise ValueError("items: the model has no values")
        if len(set(self.ids)) != n:
            raise ValueError("items: ids are not unique")

    def __len__(self) -> int:
        return len(self.human)

    def where(self, rows: ArrayLike) -> Items:
        """The items of ``rows`` (bool [N], or row numbers), with all columns, notes and the reason."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise ValueError(f"items: a mask of shape {chosen.shape} for {len(self)} items")
        # row numbers in either case: ids are a tuple, which takes no mask
        kept = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.intp)
        return Items(
            {name: values[kept] for name, values in self.model.items()},
            self.human[kept],
            [self.ids[row] for row in kept],
            {name: labels[kept] for name, labels in self.clusters.items()},
            {name: column[kept] for name, column in self.conditions.items()},
            self.notes,
            self.reason,
        )

    def column(self, name: str) -> Column:
        """The clusters or conditions [N] of this name; KeyError, listing the columns, if there is none."""
        columns = {**self.conditions, **self.clusters}  # of equal names the clusters
        if name not in columns:
            raise KeyError(f"the items have no column {name}; columns: {', '.join(columns) or 'none'}")
        return columns[name]

    def clustered(self, *names: str) -> Items:
        """The same items with these clusters first, so that intervals resample them; conditions may be named too."""
        first = {name: self.column(name) for name in names}
        rest = {name: labels for name, labels in self.clusters.items() if name not in first}
        conditions = {name: column for name, column in self.conditions.items() if name not in first}
        return Items(self.model, self.human, self.ids, {**first, **rest}, conditions, self.notes, self.reason)
