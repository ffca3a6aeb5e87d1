# SPDX-License-Identifier: Apache-2.0
"""The common part of two-alternative benchmarks: which of two images is more like a reference?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.errors import UserError, option_problem
from clip_align.metrics.choices import Ties, agreement_of_two, mean_of_strata
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.perception.distances import DistanceName
from clip_align.perception.image_files import read_rgb

NAMED = 3  # missing files that a message lists


@dataclass(frozen=True)
class Choice:
    """One item: reference and both alternatives below ``root``, and the fraction of people who chose the second."""

    name: str
    reference: str
    first: str
    second: str
    people: float
    stratum: str


class TwoAlternatives(PerceptualCallback):
    """Choices of the nearer of two images, against people's; a subclass reads the choices and calls `compare`.

    Args:
        distance: of two embeddings: ``cosine``, ``euclidean`` or ``normalised_euclidean``, whose weights are those of
            all pairs of the benchmark.
        ties: what two equal distances count: ``half``, ``wrong`` or ``right``. Their number is recorded as ``ties``.
        base: arguments of `PerceptualCallback`.

    ``context``: agreement of others' models, by name, and where it is from; by the protocol named there.
    """

    context: ClassVar[Mapping[str, float]] = MappingProxyType({})
    context_source: ClassVar[str] = ""

    def __init__(self, distance: DistanceName = "cosine", ties: Ties = "half", **base: Any) -> None:
        super().__init__(**base)
        self.distance, self.ties = distance, ties

    def compare(self, choices: Sequence[Choice], root: Path, by: str, ceilings: Mapping[str, float]) -> None:
        """Set the items and the scores.

        Args:
            choices: of people.
            root: folder that their paths are relative to.
            by: what the strata are; ``agreement`` is the mean over them of their means.
            ceilings: of people, by name.

        UserError without a choice, or if images are missing.
        """
        if not choices:
            raise UserError(option_problem(self.key, "root", f"no choices in {root} that these options keep"))
        images = dict.fromkeys(path for c in choices for path in (c.reference, c.first, c.second))
        absent = [path for path in images if not (root / path).is_file()]
        if absent:
            more = f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
            what = f"{root} lacks {', '.join(absent[:NAMED])}{more}; unpack the data set again"
            raise UserError(option_problem(self.key, "root", what))
        self.choices, self.root, self.images, self.by = tuple(choices), root, tuple(images), by
        several = len({c.stratum for c in choices}) > 1
        self.scores = (
            Score(
                "agreement",
                "agreement with people's choices",
                _agreement,
                direction="higher = more people choose as the model does",
                chance=0.5,
                unit=f"{len(choices):,} triplets{f' within their {by}' if several else ''}, jackknife, t",
                axis=(0.3, 1.0),
                ceilings=ceilings,
                context=self.context,
                context_source=self.context_source,
                role="headline",
                higher_is_better=True,
                by=by if several else None,
            ),
            *([_pooled(len(choices))] if several else []),
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once."""
        for path in self.images:
            yield Stimulus(self._id(path), partial(read_rgb, self.root / path), part=self.name)

    def pairs(self) -> list[tuple[str, str]]:
        """Each reference with its first, then with its second alternative."""
        return [(self._id(c.reference), self._id(other)) for c in self.choices for other in (c.first, c.second)]

    def items(self, features: Features) -> Items:
        """One item per triplet: agreement under the rule for ties, and by how much the second one is nearer."""
        to_first, to_second = features.pairs.distance(self.distance).reshape(-1, 2).T
        people = np.array([c.people for c in self.choices])
        finite = np.isfinite(to_first) & np.isfinite(to_second)
        tied = finite & (to_first == to_second)
        why = f"both distances of all {len(tied):,} items are equal" if tied.all() else None
        return Items(
            {
                "agreement": agreement_of_two(to_first, to_second, people, self.ties),
                "second_nearer_by": to_first - to_second,
            },
            people,
            ids=[c.name for c in self.choices],
            conditions={self.by: np.array([c.stratum for c in self.choices])},
            notes={"ties": float(tied.sum())},
            reason=why,
        )

    def _id(self, path: str) -> str:
        return f"{self.name}/{path}"


def _agreement(items: Items) -> Estimate:
    """Mean over the strata, which are the only condition."""
    (strata,) = items.conditions.values()
    return mean_of_strata(items.model["agreement"], strata)


def _pooled(triplets: int) -> Score:
    return Score(
        "agreement_pooled",
        "agreement, all triplets alike",
        _all_alike,
        direction="higher = more people choose as the model does",
        chance=0.5,
        unit=f"{triplets:,} triplets, jackknife, t",
        axis=(0.3, 1.0),
        higher_is_better=True,
    )


def _all_alike(items: Items) -> Estimate:
    return mean_of_strata(items.model["agreement"], np.zeros(len(items))) if len(items) else undefined("no items")
