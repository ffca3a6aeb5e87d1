# SPDX-License-Identifier: Apache-2.0
"""The common part of two-alternative benchmarks: which of two images is more like a reference?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clip_align.callbacks.base import Features, Items, Score
from clip_align.callbacks.common.image_choices import ImageChoices
from clip_align.errors import UserError, option_problem
from clip_align.metrics.choices import agreement_of_two, mean_of_strata
from clip_align.metrics.estimate import Estimate, undefined


@dataclass(frozen=True)
class Choice:
    """One item: reference and both alternatives below ``root``, and the fraction of people who chose the second."""

    name: str
    reference: str
    first: str
    second: str
    people: float
    stratum: str


class TwoAlternatives(ImageChoices):
    """Choices of the nearer of two images, against people's; a subclass reads the choices and calls `compare`.

    Args:
        distance, ties, base: see `ImageChoices`.
    """

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
        if missing := self.find_images(root, (path for c in choices for path in (c.reference, c.first, c.second))):
            raise UserError(option_problem(self.key, "root", f"{root} lacks {missing}; unpack the data set again"))
        self.choices, self.by = tuple(choices), by
        headline = self.headline(
            "agreement",
            "agreement with people's choices",
            [c.stratum for c in choices],
            by,
            direction="higher = more people choose as the model does",
            chance=0.5,
            axis=(0.3, 1.0),
            ceilings=ceilings,
        )
        self.scores = (headline, _pooled(len(choices))) if headline.by else (headline,)

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
