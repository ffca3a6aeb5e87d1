# SPDX-License-Identifier: Apache-2.0
"""Loss of accuracy under Gaussian noise, on images of the embedded world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.noise_scores import CLEAN, limit_note, noise_scores
from clip_align.callbacks.common.world_benchmark import WorldBenchmark, image_id
from clip_align.data.world.held_out import image
from clip_align.errors import UserError, option_problem
from clip_align.perception.corruptions import Rounding, corrupted, hundredths
from clip_align.structure import Distinct, Range

PART = "test"


class WorldNoise(WorldBenchmark):
    """The same held-out images clean and under Gaussian noise on [0, 1], at the largest of CIFAR-C's sigmas by default.

    c, n = zero-shot accuracy clean and noisy. Drop = c - n; relative = (c - n)/c, which the paper calls normalized
    and which cannot exceed 1 - 1/(Kc); corrected = (c - n)/(c - 1/K), the fraction of the above-chance accuracy that
    is lost: the headline, at the largest sigma. Noise is added at the image's own size, the same at every step,
    clipped, and converted to 8 bits. The note ``relative_drop_limit`` is 1 - 1/(Kc) at this evaluation. No human data.

    Args:
        sigmas: standard deviations on [0, 1]. CIFAR-C's smallest, .04, changes hardly any decision about 32 px.
        images: number of images, a multiple of 16 (classes are balanced).
        rounding: to 8 bits: ``truncate`` as in CIFAR-C's script, or ``round``.
        base: ``world`` (see `WorldBenchmark`) and the arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    source: ClassVar[str] = f"{WorldBenchmark.source}; sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
    parts: ClassVar[tuple[str, ...]] = (PART,)

    def __init__(
        self,
        sigmas: Annotated[Sequence[float], Range(above=0, below=1, multiple=0.01), Distinct()] = (0.10,),
        images: Annotated[int, Range(low=16, high=512, multiple=16)] = 256,
        rounding: Rounding = "truncate",
        **base: Any,
    ) -> None:
        self.sigmas = {hundredths(sigma): float(sigma) for sigma in sigmas}  # first: the scores are named after them
        self.images, self.rounding = images, rounding
        super().__init__(**base)
        if images > len(self.sets[PART]):
            raise UserError(
                option_problem(
                    self.key, "images", f"images is {images}; {self.world} holds {len(self.sets[PART])} of them"
                )
            )

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Accuracies clean and at each sigma, then the drops."""
        labels = {name: f"sigma .{name}" for name in self.sigmas}
        return tuple(noise_scores(labels, max(labels), known, len(self.rows(PART))))  # as texts: two digits each

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of the first ``images`` images, without those of unknown shapes; classes are balanced."""
        rows = super().rows(part)
        return rows[rows < self.images]  # any prefix of the set has classes in turn

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, clean (the same stimuli as in the zero-shot benchmark) and once for each sigma."""
        for index in self.rows(PART).tolist():
            yield self.stimulus(PART, index)
            for name, sigma in self.sigmas.items():
                load = partial(noisy_image, self.world, index, sigma, self.rounding)
                yield Stimulus(_noisy_id(name, index), load, "native")  # noise at the image's own size, then enlarged

    def items(self, features: Features) -> Items:
        """One item per image: the decisions about it clean and noisy, and the correct shape."""
        rows = self.rows(PART).tolist()
        clean = [image_id(PART, index) for index in rows]
        choice = {CLEAN: self.decisions(features, clean)}
        for name in self.sigmas:
            choice[f"choice_{name}"] = self.decisions(features, [_noisy_id(name, index) for index in rows])
        items = Items(choice, self.sets[PART].shape[rows], clean)
        # the known classes: among them the model decides
        return Items(items.model, items.human, items.ids, notes=limit_note(items, len(self.known)))


def noisy_image(folder: Path, index: int, sigma: float, rounding: Rounding) -> NDArray[np.uint8]:
    """A held-out image, uint8 [S, S, 3], with Gaussian noise that is seeded by the image's id.

    Args:
        folder: of the held-out sets.
        index: number of the image.
        sigma: standard deviation of the noise on [0, 1].
        rounding: ``truncate`` or ``round`` to 8 bits.
    """
    clean = image(folder, PART, index)
    return corrupted(clean, "gaussian_noise", sigma, _noisy_id(hundredths(sigma), index), rounding)


def _noisy_id(name: str, index: int) -> str:
    return f"world_noise/{name}/{index:04d}"
