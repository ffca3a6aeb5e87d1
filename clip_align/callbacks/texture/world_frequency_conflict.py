# SPDX-License-Identifier: Apache-2.0
"""Coarse or fine? Decisions about hybrids: low frequencies of one image of the world, high ones of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.common.cue_decisions import error_notes, of_cues
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.world_benchmark import CLASSES, WorldBenchmark
from clip_align.data.world.held_out import image
from clip_align.metrics import texture
from clip_align.perception.cue_images import high_and_low
from clip_align.structure import Range

PART = "test"
REPEATS = 2  # hybrids of each ordered pair of classes
DIRECTION = "higher = decided by high frequencies, lower = by low ones"


class WorldFrequencyConflict(WorldBenchmark):
    """480 hybrids, 2 per ordered pair of classes: the low frequencies of class A's image, the high ones of class B's.

    Decision among the 16 shape names by prompts, counted as in cue conflict with low frequencies in place of the shape,
    high ones in place of the texture (the measure of Gavrikov et al.'s frequency cue conflict, with hybrids of rendered
    images instead of photographs: its numbers are not comparable). Bias = decisions for the high band of those for
    either; 1 = high, 0 = low, guessing .5; null while decisions hardly follow either band. No human data.

    Args:
        cutoff: where both images have half their amplitude, in cycles per image side.
        base: ``world`` (see `WorldBenchmark`) and the arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = (PART,)

    def __init__(self, cutoff: Annotated[float, Range(low=1, high=64)] = 4.0, **base: Any) -> None:
        self.cutoff = cutoff
        super().__init__(**base)

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Bias towards the high band, as it is and corrected for guesses, and the hits of either band."""
        k = len(known)
        unit = known.unit(f"{REPEATS * k * (k - 1)} hybrids, new ones of each class pair: jackknife, t")
        bias = partial(Score, direction=DIRECTION, drawn_after=2, unit=unit)
        hits = partial(Score, chance=known.chance, unit=unit, role="companion")
        cues = partial(of_cues, cues=_bands)
        return (
            bias(
                "high_frequency_bias",
                "high-frequency bias",
                partial(cues, metric=texture.texture_bias, classes=k),
                chance=0.5,
                role="headline",
            ),
            bias(
                "high_frequency_bias_corrected",
                "corrected, if errors are guesses",
                partial(cues, metric=texture.texture_bias_corrected, classes=k),
                role="companion",
                drawn_after_of="high_frequency_bias",
            ),
            hits(
                "low_hits",
                "low-frequency hits",
                partial(cues, metric=texture.shape_hits),
                direction="higher = more decisions for the low band",
            ),
            hits(
                "high_hits",
                "high-frequency hits",
                partial(cues, metric=texture.texture_hits),
                direction="higher = more decisions for the high band",
            ),
        )

    def hybrids(self) -> list[tuple[int, int]]:
        """Numbers of the images that give the low and the high band, of known shapes."""
        of_class = {c: np.flatnonzero(self.sets[PART].shape == c) for c in self.known.kept}

        def number(of: int, partner: int, k: int) -> int:
            # another image of a class for each partner, so that none of them stands for its class
            return int(of_class[of][(partner + CLASSES * k) % len(of_class[of])])

        return [
            (number(a, b, k), number(b, a, k))
            for a in self.known.kept
            for b in self.known.kept
            if a != b
            for k in range(REPEATS)
        ]

    def stimuli(self) -> Iterator[Stimulus]:
        """The hybrids."""
        for low, high in self.hybrids():
            load = partial(hybrid_image, self.world, low, high, self.cutoff)
            yield Stimulus(self._id(low, high), load, "native", part="world/frequency_conflict")

    def items(self, features: Features) -> Items:
        """One item per hybrid: the decision, and the classes of both bands."""
        pairs = self.hybrids()
        low, high = (self.sets[PART].shape[[pair[band] for pair in pairs]] for band in (0, 1))
        ids = [self._id(*pair) for pair in pairs]
        choice = self.decisions(features, ids)
        return Items(
            {"choice": choice},
            low,
            ids,
            clusters={"class_pair": low.astype(int) * CLASSES + high},  # int8 labels would overflow
            conditions={"high": high},
            notes=error_notes(choice, low, high),
        )

    def _id(self, low: int, high: int) -> str:
        return f"world/hybrid/{low:04d}_{high:04d}_{self.cutoff:g}"


def hybrid_image(world: Path, low: int, high: int, cutoff: float) -> NDArray[np.uint8]:
    """The hybrid of two held-out images.

    Args:
        world: folder of the held-out sets.
        low, high: numbers of the images that give either band.
        cutoff: in cycles per image side.
    """
    return high_and_low(image(world, PART, low), image(world, PART, high), cutoff)


def _bands(items: Items) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    return items.human, items.conditions["high"]
