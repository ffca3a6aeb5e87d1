# SPDX-License-Identifier: Apache-2.0
"""How often ten human observers followed the shape or the texture: counts by pair of classes.

From the trial files of rgeirhos/texture-vs-shape (raw-data/, human observers of the neutral instruction); the counts
alone are embedded, in ``data/cue_conflict_people.csv``. They answered among all 16 classes, also where only images of
some classes are counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from clip_align.known_answer import KnownAnswer, count
from clip_align.perception.photographs import DATA
from clip_align.perception.sixteen_classes import CATEGORIES

__all__ = ["ImageSet", "PeopleCounts", "known_answers", "people"]

TABLE = DATA / "cue_conflict_people.csv"
CIFAR10 = ("airplane", "bird", "car", "cat", "dog", "truck")  # of the 16, without boat, its ship
ImageSet = Literal["cue_conflict", "edges", "silhouettes"]


@dataclass(frozen=True)
class PeopleCounts:
    """Trials of ten people about the images of some classes.

    trials: about images whose cues conflict (edges, silhouettes: 0). for_shape, for_texture: those answered with the
    class of either cue. other_trials, right: trials about all other images, and those answered with the shape.
    """

    trials: int
    for_shape: int
    for_texture: int
    other_trials: int
    right: int

    @property
    def texture_bias(self) -> float:
        """T/(S + T), pooled over observers."""
        return self.for_texture / (self.for_shape + self.for_texture)

    @property
    def shape_hits(self) -> float:
        """S/n."""
        return self.for_shape / self.trials

    @property
    def texture_hits(self) -> float:
        """T/n."""
        return self.for_texture / self.trials

    @property
    def accuracy(self) -> float:
        """Proportion right of the images without a conflict."""
        return self.right / self.other_trials


def people(kind: ImageSet, classes: Sequence[str]) -> PeopleCounts:
    """The counts over the images whose classes are among these."""
    trials = for_shape = for_texture = other = right = 0
    for shape, texture, n, s, t in _rows(kind):
        if shape not in classes or (texture and texture not in classes):
            continue
        if texture and texture != shape:
            trials, for_shape, for_texture = trials + n, for_shape + s, for_texture + t
        else:
            other, right = other + n, right + s
    return PeopleCounts(trials, for_shape, for_texture, other, right)


@lru_cache(maxsize=3)
def _rows(kind: ImageSet) -> tuple[tuple[str, str, int, int, int], ...]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(
            (row["shape"], row["texture"], int(row["trials"]), int(row["for_shape"]), int(row["for_texture"]))
            for row in csv.DictReader(file)
            if row["set"] == kind
        )


def known_answers() -> Iterator[KnownAnswer]:
    """Ten people on cue-conflict images, edges and silhouettes: the embedded counts."""
    every = people("cue_conflict", CATEGORIES)
    yield count("all 16 classes: S", every.for_shape, 9236)
    yield count("all 16 classes: T", every.for_texture, 398)
    yield KnownAnswer("all 16 classes: shape bias", 1 - every.texture_bias, 0.9587, 1e-4)
    yield KnownAnswer("all 16 classes: cue accuracy", every.shape_hits + every.texture_hits, 0.8028, 1e-4)
    yield KnownAnswer("all 16 classes: accuracy without a conflict", every.accuracy, 0.8638, 1e-4)
    for classes, s, t, bias in ((CIFAR10, 1158, 53, 0.9562), ((*CIFAR10, "boat"), 1541, 83, 0.9489)):
        found = people("cue_conflict", classes)
        yield count(f"{len(classes)} classes in common with CIFAR-10: S", found.for_shape, s)
        yield count(f"{len(classes)} classes in common with CIFAR-10: T", found.for_texture, t)
        yield KnownAnswer(
            f"{len(classes)} classes in common with CIFAR-10: shape bias", 1 - found.texture_bias, bias, 1e-4
        )
    yield KnownAnswer("edges: accuracy", people("edges", CATEGORIES).accuracy, 0.8712, 1e-4)
    yield KnownAnswer("silhouettes: accuracy", people("silhouettes", CATEGORIES).accuracy, 0.7531, 1e-4)
