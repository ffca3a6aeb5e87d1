# SPDX-License-Identifier: Apache-2.0
"""Low-level human alignment: correlation of the model's distances with human opinions of distortions.

1,920 re-made pairs, each with TID2013's opinion of the original: 24 crops of the photographs behind TID2013's
references (to the pixel for 6 of them) x 16 distortion types x 5 levels. The model's value of a pair is minus the
distance of its two embeddings; a score is the correlation with the opinions, positive = aligned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.jackknife import leave_one_out_range
from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.pair_scores import (
    beyond_level,
    by_other_distances,
    level_of,
    minus_distances,
    over_items,
)
from clip_align.evaluation.views import chosen_view
from clip_align.metrics import correlation
from clip_align.perception import distortions, photographs, tid2013_remade
from clip_align.perception.baselines import CEILINGS, TRAINED_CLIPS, TRAINED_CLIPS_SOURCE, baselines
from clip_align.perception.distances import DistanceName
from clip_align.perception.tid2013_remade import Pairs
from clip_align.structure import Range

ONE_WAY = "24 references (new images, these distortions), jackknife, t(23)"
TWO_WAY = "24 references x 16 types (other distortions too), two-way jackknife, Fisher z, t(15)"
CUTS = 5  # sets of tile positions per photograph
PLACE_OF_TYPE = {type: place for place, type in enumerate(distortions.TYPES)}
ORDER = "higher = the model's distances order the pairs more like people's opinions"


class TID2013Remade(PerceptualCallback):
    """1,920 re-made pairs, each with TID2013's opinion of the original. Higher opinion = better; chance 0.

    Args:
        distance: ``normalised_euclidean`` (the authors'), ``euclidean`` or ``cosine``: the headline distance; the
            others have scores of their own names.
        tiles: number of tiles per image for models with an input below 128 px. Each photograph is cut in five ways; the
            five levels of a type are compared with five different ones, those of a level evenly. So what a few squares
            happen to show is not common to all 80 versions of a photograph, which would be an error of its own.

    Items are sorted by reference, type, level; model values are named after the distances, the headline one first.
    Scores have ``baselines`` (pixel measures, level or type alone) and ``ceilings`` (of the original stimuli).
    Baselines of untrained networks depend on the trained model and are added by `add_baselines`.
    """

    family: ClassVar[str] = "human"
    # 2: layers are compared token by token; 3: five sets of tile positions a photograph (small models alone)
    version: ClassVar[int] = 3
    human_data: ClassVar[str] = "TID2013's mean opinion scores of its own images, values unmodified"
    stand_in: ClassVar[str] = (
        "the images: 16 of TID2013's 24 distortion types re-made on crops of the same Kodak photographs; "
        "6 of the 24 references are the database's to the pixel, 18 a shifted part of the same photograph"
    )
    source: ClassVar[str] = "Ponomarenko et al., Signal Process. Image Commun. 30 (2015) 57-77; Kodak PhotoCD PCD0992"
    licence: ClassVar[str] = "LicenseRef-TID2013 (scores) AND LicenseRef-Kodak-PhotoCD (photographs)"

    def __init__(
        self, distance: DistanceName = "normalised_euclidean", tiles: Annotated[int, Range(low=1)] = 4, **base: Any
    ) -> None:
        super().__init__(**base)
        self.distance, self.tiles = distance, tiles
        self.scores = _scores(distance)
        of = tid2013_remade.pairs()  # 1,920 rows
        self._names = list(zip(of.reference.tolist(), of.type.tolist(), of.level.tolist(), strict=True))
        self._cuts = 1

    def adapt(self, model: ModelInfo) -> str | None:
        """One cut of each photograph where the whole image is seen, five where tiles are."""
        self._cuts = CUTS if chosen_view(self.view, model.image_size, "cut") == "tiles" else 1
        return None

    def stimuli(self) -> Iterator[Stimulus]:
        """24 photographs, in each of their cuts, and their 1,920 distorted versions, each in one."""
        # the recipe's version is an argument, and so part of what identifies a cached image
        make = partial(tid2013_remade.image, recipe=tid2013_remade.RECIPE)
        for number in photographs.NUMBERS:
            for cut in range(self._cuts):
                name = _cut(number, cut)
                yield Stimulus(
                    name, partial(make, number), places=name
                )  # ``places``: tiles as of its distorted versions
        for pair in self._names:
            yield Stimulus(tid2013_remade.pair_id(*pair), partial(make, *pair), places=self._reference(*pair))

    def pairs(self) -> list[tuple[str, str]]:
        """Each photograph with its 80 distorted versions, cut at the same positions."""
        return [(self._reference(*pair), tid2013_remade.pair_id(*pair)) for pair in self._names]

    def items(self, features: Features) -> Items:
        """One item per pair: minus its distances, and the opinion."""
        of = tid2013_remade.pairs()
        ids = [tid2013_remade.pair_id(*pair) for pair in self._names]
        model, notes = minus_distances(features, self.distance)
        notes |= _over_types(model[self.distance], of)
        clusters = {"reference": np.array([f"I{number:02d}" for number in of.reference]), "type": of.type}
        return Items(model, of.opinion, ids, clusters, {"level": of.level}, notes)

    def _reference(self, number: int, type: int, level: int) -> str:
        """Id of the photograph in the cut that a distorted version is compared with."""
        # a Latin square: all levels of a type differ, and a level has each cut as often as 16 types allow
        return _cut(number, (PLACE_OF_TYPE[type] + level) % self._cuts)

    def add_baselines(self, more: Mapping[str, Mapping[str, float]]) -> None:
        """Add baselines {score: {label: value}} to the scores.

        For values that depend on the model ("untrained nets", "untrained nets sd"); a new ``benchmark`` line writes
        them to the record.
        """
        self.scores = tuple(replace(s, baselines={**s.baselines, **more.get(s.name, {})}) for s in self.scores)


def _cut(number: int, cut: int) -> str:
    """Id of a photograph, cut into tiles at one of its sets of positions."""
    return tid2013_remade.reference_id(number) + (f"/{cut}" if cut else "")


def _over_types(x: NDArray[np.float64], of: Pairs) -> dict[str, float]:
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


def _scores(distance: DistanceName) -> tuple[Score, ...]:
    # 0: over all pairs, 1: within a level, where level alone orders nothing: NaN, left out
    pooled, within = ({n: v[i] for n, v in baselines().items() if math.isfinite(v[i])} for i in (0, 1))
    ceilings = [{name: values[i] for name, values in CEILINGS.items()} for i in (0, 1)]
    context = [{n: v for n, values in TRAINED_CLIPS.items() if (v := values[i]) is not None} for i in (0, 1)]
    # axis: scores of trained models are positive; a little room below 0 for those that are not
    detail = partial(Score, direction=ORDER, chance=0.0, unit=ONE_WAY, axis=(-0.2, 1.0), higher_is_better=True)
    return (
        detail(
            "srocc",
            "SROCC",
            over_items(correlation.srocc),
            ceilings=ceilings[0],
            baselines=pooled,
            context=context[0],
            context_source=TRAINED_CLIPS_SOURCE,
            role="headline",
            has_verdict=True,
        ),
        detail(
            "within_level_srocc",
            "SROCC within a level",
            over_items(correlation.within_level_srocc, level_of),
            direction="higher = at equal level, types and images are ordered more like people's opinions",
            ceilings=ceilings[1],
            baselines=within,
            context=context[1],
            context_source=TRAINED_CLIPS_SOURCE,
            role="companion",
            has_verdict=True,
        ),
        detail("plcc", "PLCC", over_items(correlation.plcc)),
        detail("krocc", "KROCC (tau-b)", over_items(correlation.krocc)),
        *beyond_level(detail),
        detail(
            "srocc_two_way", "SROCC, other distortions too", over_items(correlation.srocc, two_way=True), unit=TWO_WAY
        ),
        detail(
            "within_level_srocc_two_way",
            "SROCC within a level, other distortions too",
            over_items(correlation.within_level_srocc, level_of, two_way=True),
            unit=TWO_WAY,
        ),
        *by_other_distances(detail, distance),
    )
