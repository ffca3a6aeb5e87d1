# SPDX-License-Identifier: Apache-2.0
"""What benchmarks on re-made distortions share: embedded photographs, distorted here, with a database's opinions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import leave_one_out_range
from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Stimulus
from clip_align.callbacks.common.pair_scores import minus_distances, rated_pair_scores
from clip_align.evaluation.views import chosen_view
from clip_align.metrics import correlation
from clip_align.perception import photographs
from clip_align.perception.distances import DistanceName
from clip_align.structure import Range

__all__ = ["RemadePairs", "RemadeTable", "Values"]

CUTS = 5  # sets of tile positions per photograph
Values = Mapping[str, Mapping[str, float]]  # by score and label


@dataclass(frozen=True, eq=False)
class RemadeTable:
    """The pairs, one row each, sorted by reference, type, level.

    reference 1 to 24, type, level 1 to 5: int [P]. opinion: float64 [P], higher = better. of_images: each pair has an
    opinion of its own; False: all pairs of a type and level have the same one.
    """

    reference: NDArray[np.int64]
    type: NDArray[np.int64]
    level: NDArray[np.int64]
    opinion: NDArray[np.float64]
    of_images: bool = True


class RemadePairs(PerceptualCallback):
    """Opinions of distortions, correlated with the model's distances between photographs and their re-made versions.

    A subclass names its ids (``part``), and its constructor hands the pairs to `use`.

    Args:
        distance: ``normalised_euclidean`` (the authors'), ``euclidean`` or ``cosine``: the headline distance; the
            others have scores of their own names.
        tiles: number of tiles per image for models with an input below 128 px. Each photograph is cut in five ways; the
            five levels of a type are compared with five different ones, those of a level evenly. So what a few squares
            happen to show is not common to all versions of a photograph, which would be an error of its own.
    """

    family: ClassVar[str] = "human"
    part: ClassVar[str]  # start of all ids

    def __init__(
        self, distance: DistanceName = "normalised_euclidean", tiles: Annotated[int, Range(low=1)] = 4, **base: Any
    ) -> None:
        super().__init__(**base)
        self.distance, self.tiles = distance, tiles
        self._cuts = 1

    def use(self, table: RemadeTable, make: Callable[..., NDArray[np.uint8]]) -> None:
        """Set the pairs, and describe their scores.

        Args:
            table: the pairs.
            make: a photograph by its number, and one of its versions by number, type and level; can be pickled.
        """
        self.table, self._make = table, make
        self._names = list(zip(table.reference.tolist(), table.type.tolist(), table.level.tolist(), strict=True))
        self._place_of_type = {type: place for place, type in enumerate(np.unique(table.type).tolist())}
        self.scores = rated_pair_scores(
            self.distance,
            len(photographs.NUMBERS),
            len(self._place_of_type),
            of_images=table.of_images,
        )

    def describe(self, name: str, **more: Any) -> None:
        """Give a score further fields, such as ``baselines``."""
        self.scores = tuple(replace(score, **more) if score.name == name else score for score in self.scores)

    def adapt(self, model: ModelInfo) -> str | None:
        """One cut of each photograph where the whole image is seen, five where tiles are."""
        self._cuts = CUTS if chosen_view(self.view, model.image_size, "cut") == "tiles" else 1
        return None

    def stimuli(self) -> Iterator[Stimulus]:
        """The photographs, in each of their cuts, and their distorted versions, each in one."""
        for number in photographs.NUMBERS:
            for cut in range(self._cuts):
                name = self._cut(number, cut)
                # ``places``: tiles as of its distorted versions
                yield Stimulus(name, partial(self._make, number), places=name)
        for pair in self._names:
            ident = photographs.version_id(self.part, *pair)
            yield Stimulus(ident, partial(self._make, *pair), places=self._reference(*pair))

    def pairs(self) -> list[tuple[str, str]]:
        """Each photograph with its distorted versions, cut at the same positions."""
        return [(self._reference(*pair), photographs.version_id(self.part, *pair)) for pair in self._names]

    def items(self, features: Features) -> Items:
        """One item per pair: minus its distances, and the opinion."""
        of = self.table
        ids = [photographs.version_id(self.part, *pair) for pair in self._names]
        model, notes = minus_distances(features, self.distance)
        notes |= _over_types(model[self.distance], of)
        clusters = {"reference": np.array([f"I{number:02d}" for number in of.reference]), "type": of.type}
        return Items(model, of.opinion, ids, clusters, {"level": of.level}, notes)

    def add_baselines(self, more: Values) -> None:
        """Add baselines {score: {label: value}} to the scores.

        For values that depend on the model ("untrained nets", "untrained nets sd"); a new ``benchmark`` line writes
        them to the record.
        """
        self.scores = tuple(replace(s, baselines={**s.baselines, **more.get(s.name, {})}) for s in self.scores)

    def _reference(self, number: int, type: int, level: int) -> str:
        """Id of the photograph in the cut that a distorted version is compared with."""
        # a Latin square: all levels of a type differ, and a level has each cut as often as the number of types allows
        return self._cut(number, (self._place_of_type[type] + level) % self._cuts)

    def _cut(self, number: int, cut: int) -> str:
        """Id of a photograph, cut into tiles at one of its sets of positions."""
        return photographs.photograph_id(self.part, number) + (f"/{cut}" if cut else "")


def _over_types(x: NDArray[np.float64], of: RemadeTable) -> dict[str, float]:
    """Sensitivity to the types: range of a score with one left out, and sd when the opinions' types are permuted."""
    y, level = of.opinion, of.level
    statistics: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "srocc": lambda kept: correlation.srocc(x[kept], y[kept]),
        "within_level_srocc": lambda kept: correlation.within_level_srocc(x[kept], y[kept], level[kept]),
    }
    spread = correlation.type_permutation_sd(x, y, of.type, level, of.reference)
    notes = {}
    for (name, statistic), sd in zip(statistics.items(), spread, strict=True):
        low, high, _, _ = leave_one_out_range(statistic, of.type)  # the labels left out are not recorded
        notes[f"{name}_without_one_type_low"], notes[f"{name}_without_one_type_high"] = low, high
        notes[f"{name}_types_permuted_sd"] = sd
    return notes
