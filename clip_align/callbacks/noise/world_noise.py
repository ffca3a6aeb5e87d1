# SPDX-License-Identifier: Apache-2.0
"""Loss of accuracy under Gaussian noise, on images of the embedded world."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, Score, Stimulus
from clip_align.callbacks.known_classes import KnownClasses
from clip_align.callbacks.world_benchmark import WorldBenchmark, image_id
from clip_align.data.world.held_out import image
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.score import Role
from clip_align.metrics import noise
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate
from clip_align.structure import Distinct, Range

PART = "test"
CLEAN = "choice_clean"
Rounding = Literal["truncate", "round"]


class WorldNoise(WorldBenchmark):
    """The same held-out images clean and under Gaussian noise on [0, 1], at CIFAR-C's sigmas by default.

    c, n = zero-shot accuracy clean and noisy. Drop = c - n; relative = (c - n)/c, which the paper calls normalized
    and which cannot exceed 1 - 1/(Kc); corrected = (c - n)/(c - 1/K), the fraction of the above-chance accuracy that
    is lost: the headline, at the largest sigma. Noise is added at the image's own size, the same at every step,
    clipped, and converted to 8 bits. The note ``relative_drop_limit`` is 1 - 1/(Kc) at this evaluation. No human data.

    Args:
        sigmas: standard deviations on [0, 1].
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
        sigmas: Annotated[Sequence[float], Range(above=0, below=1, multiple=0.01), Distinct()] = (0.04, 0.10),
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
        return tuple(_scores(list(self.sigmas), known, len(self.rows(PART))))

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
        right = self.sets[PART].shape[rows]
        before = accuracy(choice[CLEAN], right).value
        # K: the known classes, among which the model decides
        limit = None if before is None else noise.relative_drop_limit(before, len(self.known))
        return Items(choice, right, clean, notes={} if limit is None else {"relative_drop_limit": limit})


def noisy_image(folder: Path, index: int, sigma: float, rounding: Rounding) -> NDArray[np.uint8]:
    """A held-out image, uint8 [S, S, 3], with Gaussian noise that is seeded by the image's id.

    Args:
        folder: of the held-out sets.
        index: number of the image.
        sigma: standard deviation of the noise on [0, 1].
        rounding: ``truncate`` or ``round`` to 8 bits.
    """
    clean = image(folder, PART, index) / 255.0  # float64 in [0, 1]
    name = _noisy_id(hundredths(sigma), index)
    # PCG64 by name: what default_rng returns may change with NumPy
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    noise_ = np.random.Generator(np.random.PCG64(seed)).normal(0.0, sigma, clean.shape)
    levels = np.clip(clean + noise_, 0, 1) * 255
    # CIFAR-C's script converts with np.uint8(), which truncates
    return (np.rint(levels) if rounding == "round" else np.floor(levels)).astype(np.uint8)


def hundredths(sigma: float) -> str:
    """A sigma as part of a key: ``10`` for .10."""
    return f"{round(100 * sigma):02d}"


def _noisy_id(name: str, index: int) -> str:
    return f"world_noise/{name}/{index:04d}"


def _scores(names: Sequence[str], known: KnownClasses, images: int) -> Iterator[Score]:
    largest = max(names)  # as texts: two digits each
    for name in ("clean", *names):
        yield Score(
            f"accuracy_{name}",
            "clean" if name == "clean" else f"noisy, sigma .{name}",
            partial(_accuracy, column=f"choice_{name}"),
            direction="higher = more images named rightly",
            chance=known.chance,
            unit=known.unit(f"{images} images, Wilson"),
            higher_is_better=True,
            role="companion" if name in ("clean", largest) else "detail",
        )
    drops: Mapping[str, tuple[str, Callable[..., Estimate], Role]] = {
        "corrected_drop": ("corrected", partial(noise.corrected_drop, classes=len(known)), "headline"),
        "relative_drop": ("relative (the paper's)", partial(noise.relative_drop, classes=len(known)), "companion"),
        "drop": ("plain", noise.drop, "detail"),
    }
    for name in names:
        for kind, (label, metric, role) in drops.items():
            yield Score(
                f"{kind}_{name}",
                f"{label}, sigma .{name}",
                partial(_drop, metric, f"choice_{name}"),
                direction="higher = more accuracy lost to noise",
                unit=known.unit(f"{images} images, paired jackknife, t"),
                axis=(-0.5, 1.0),  # noise may help a little by chance
                higher_is_better=False,
                role=role if name == largest else "detail",
            )


def _accuracy(items: Items, column: str) -> Estimate:
    return accuracy(items.model[column], items.human)


def _drop(metric: Callable[..., Estimate], column: str, items: Items) -> Estimate:
    return metric(items.model[CLEAN], items.model[column], items.human)
