# SPDX-License-Identifier: Apache-2.0
"""Items: what a score is computed over (pairs, triplets, images, trials)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Items:
    """One row an item, all arrays of length N.

    model: the model's values by name, the headline one first: float64, higher = better by the
        model's judgement (for pairs: minus the distance); decisions are int8, named ``choice…``,
        -1 for none. A bare array is taken as ``{"value": array}``.
    human: the human value of each item (opinion, or the index of the right class), float64.
    ids: unique names; ``0``, ``1``, … when not given.
    clusters: what intervals resample, by name, the headline unit first (``{"reference": …, "type":
        …}``). A bare sequence is taken as ``{"cluster": …}``. None: every item by itself.
    conditions: further columns for items.csv (level, set, …).
    notes: further numbers of this evaluation, recorded as ``<key>/<note>`` (dropped features, …).
    reason: when given, the model could not be asked at all: every score is undefined for it.
    """

    model: Mapping[str, NDArray[np.generic]]
    human: NDArray[np.float64]
    ids: Sequence[str] | None = None
    clusters: Mapping[str, NDArray[np.generic]] | Sequence[object] | None = None
    conditions: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen, but normalised once

        model: Mapping[str, ArrayLike] = self.model if isinstance(self.model, Mapping) else {"value": self.model}
        put("model", {k: _column(v) for k, v in model.items()})
        put("human", np.asarray(self.human, dtype=np.float64))
        n = len(self.human)
        put("ids", tuple(map(str, range(n) if self.ids is None else self.ids)))
        clusters = self.clusters
        if clusters is None:
            clusters = {"item": np.arange(n)}
        elif not isinstance(clusters, Mapping):
            clusters = {"cluster": np.asarray(clusters)}
        put("clusters", {k: np.asarray(v) for k, v in clusters.items()})
        put("conditions", {k: np.asarray(v) for k, v in self.conditions.items()})
        columns = {**self.model, **self.clusters, **self.conditions, "ids": self.ids}  # type: ignore[dict-item]
        for name, column in columns.items():
            if len(column) != n:
                raise ValueError(f"items: {name} has {len(column)} rows, human has {n}")
        if len(set(self.ids or ())) != n:
            raise ValueError("items: ids are not unique")

    def __len__(self) -> int:
        return len(self.human)


def _column(values: ArrayLike) -> NDArray[np.generic]:
    array = np.asarray(values)
    return array if array.dtype == np.int8 else array.astype(np.float64)
