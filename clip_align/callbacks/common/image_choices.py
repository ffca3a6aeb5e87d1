# SPDX-License-Identifier: Apache-2.0
"""The common part of benchmarks in which people chose among images: the images, and means over strata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from clip_align.callbacks.base import Items, PerceptualCallback, Score, Stimulus
from clip_align.errors import some_of
from clip_align.metrics.choices import Ties, mean_of_strata
from clip_align.metrics.estimate import Estimate
from clip_align.perception.distances import DistanceName
from clip_align.perception.image_files import read_rgb


class ImageChoices(PerceptualCallback):
    """Choices among images below one folder, against people's.

    Args:
        distance: of two embeddings: ``cosine``, ``euclidean`` or ``normalised_euclidean``, whose weights are those of
            all pairs of the benchmark.
        ties: what equal distances count: ``half``, ``wrong`` or ``right``. Their number is recorded as ``ties``.
        base: arguments of `PerceptualCallback`.

    ``context``: scores of others' models, by name, and where they are from; by the protocol named there.
    """

    context: ClassVar[Mapping[str, float]] = MappingProxyType({})
    context_source: ClassVar[str] = ""

    def __init__(self, distance: DistanceName = "cosine", ties: Ties = "half", **base: Any) -> None:
        super().__init__(**base)
        self.distance, self.ties = distance, ties

    def find_images(self, root: Path, paths: Iterable[str]) -> str:
        """Set the images, each once, in the order of their first appearance.

        Args:
            root: folder that the paths are relative to.
            paths: of the images.

        Returns:
            Those that are missing, in words; empty if none is.
        """
        self.root, self.images = root, tuple(dict.fromkeys(paths))
        return some_of([path for path in self.images if not (root / path).is_file()])

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once."""
        for path in self.images:
            yield Stimulus(self._id(path), partial(read_rgb, self.root / path), part=self.name)

    def headline(self, name: str, label: str, strata: Sequence[str], by: str, **more: Any) -> Score:
        """The score of the column ``agreement`` of the items: the mean over the strata of their means.

        Args:
            name: of the score.
            label: its name in figures.
            strata: of the triplets.
            by: what the strata are; with several of them each has a detail of its own.
            more: further fields of `Score`.
        """
        several = len(set(strata)) > 1
        return Score(
            name,
            label,
            over_strata,
            unit=f"{len(strata):,} triplets{f' within their {by}' if several else ''}, jackknife, t",
            context=self.context,
            context_source=self.context_source,
            role="headline",
            higher_is_better=True,
            by=by if several else None,
            **more,
        )

    def _id(self, path: str) -> str:
        return f"{self.name}/{path}"


def over_strata(items: Items) -> Estimate:
    """Mean of the agreement over the strata, which are the only condition, of their means."""
    (strata,) = items.conditions.values()
    return mean_of_strata(items.model["agreement"], strata)
