# SPDX-License-Identifier: Apache-2.0
"""What Gaussian noise costs on CIFAR-100's test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.toolkit import (
    Distinct,
    Features,
    Items,
    Range,
    Score,
    Stimulus,
    corrected_drop,
    drop,
    relative_drop,
)

from .cifar100 import CIFAR100, PART, image


class CIFAR100Noise(CIFAR100):
    """The images of ``zero_shot/cifar100``, clean and under Gaussian noise on [0, 1], the same at every event.

    Drop c - n, relative (c - n)/c, corrected (c - n)/(c - 1/K), the fraction of the above-chance accuracy that is
    lost: the headline, at the largest sigma. ``sigmas``: standard deviations on [0, 1], whole hundredths.
    """

    family: ClassVar[str] = "noise"
    source: ClassVar[str] = f"{CIFAR100.source}; sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"

    def __init__(
        self,
        sigmas: Annotated[Sequence[float], Range(above=0, below=1, multiple=0.01), Distinct()] = (0.04, 0.1),
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.sigmas = {f"{round(100 * sigma):02d}": float(sigma) for sigma in sorted(sigmas)}

    def scores_among(self, classes: int) -> Sequence[Score]:
        """Accuracies clean and at each sigma, and the drops."""
        kinds = {"corrected_drop": partial(corrected_drop, classes=classes), "drop": drop}
        kinds["relative_drop"] = partial(relative_drop, classes=classes)
        scores = [self.accuracy(f"accuracy_{s}", f"accuracy, {s}", f"choice_{s}") for s in ("clean", *self.sigmas)]
        for name in self.sigmas:
            for kind, metric in kinds.items():
                headline = kind == "corrected_drop" and name == max(self.sigmas)
                scores.append(self.dropped(f"{kind}_{name}", metric, name, "headline" if headline else "detail"))
        return scores

    def dropped(self, name: str, metric: Callable[..., Any], sigma: str, role: Any) -> Score:
        """A drop from clean to one sigma."""
        return Score(
            name,
            name.replace("_", " "),
            lambda items: metric(items.model["choice_clean"], items.model[f"choice_{sigma}"], items.human),
            direction="higher = more accuracy lost to noise",
            unit=self.known.unit(f"{len(self.rows)} images, paired jackknife, t"),
            axis=(-0.5, 1.0),
            role=role,
            higher_is_better=False,
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """The clean images, and each once a sigma."""
        yield from super().stimuli()
        for name, sigma in self.sigmas.items():
            for row in self.rows:
                yield Stimulus(f"{PART}/{row}/{name}", partial(noisy, self.folder, row, sigma), part="cifar100/noise")

    def items(self, features: Features) -> Items:
        """One image each, clean and noisy."""
        suffixes = {"clean": "", **{name: f"/{name}" for name in self.sigmas}}
        ids = {name: [f"{PART}/{row}{suffix}" for row in self.rows] for name, suffix in suffixes.items()}
        return self.decided({f"choice_{name}": self.known.decisions(features, of) for name, of in ids.items()})


def noisy(folder: Path, row: int, sigma: float) -> NDArray[np.uint8]:
    """A test image with noise that its number and sigma seed, uint8 [32, 32, 3], truncated as CIFAR-C's script does."""
    noise = np.random.default_rng([row, round(100 * sigma)]).normal(0, sigma, (32, 32, 3))
    return np.asarray(np.clip(image(folder, row) / 255 + noise, 0, 1) * 255).astype(np.uint8)
