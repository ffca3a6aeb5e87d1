# SPDX-License-Identifier: Apache-2.0
"""Two-alternative choices: which of two images is more like the reference? In BAPPS's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.toolkit import (
    DistanceName,
    Estimate,
    Existing,
    Features,
    Items,
    PerceptualCallback,
    Score,
    Stimulus,
    UserError,
    jackknife,
    read_rgb,
    undefined,
    why_undefined,
)

FOLDERS = ("ref", "p0", "p1", "judge")


class TwoAlternatives(PerceptualCallback):
    """How many people choose as the model does: s = p where it finds p1 nearer, 1 - p where p0, 1/2 for a tie.

    p: fraction of people who preferred p1. Mean over the types' means, as their numbers differ; chance .5.
    ``root``: the folder of the types, each with ref, p0, p1 (``000000.png``) and judge (``000000.npy``).
    """

    family: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "choices of five people an item"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Zhang et al., CVPR 2018, arXiv 1801.03924"
    licence: ClassVar[str] = "not stated with the data"

    def __init__(
        self, root: Annotated[str, Existing("folder")], distance: DistanceName = "cosine", **base: Any
    ) -> None:
        super().__init__(**base)
        self.folder, self.distance = Path(root).expanduser(), distance
        self.names = sorted(f"{p.parts[-3]}/{p.stem}" for p in self.folder.glob("*/judge/*.npy"))
        absent = [p for name in self.names for p in map(partial(self.path, name), FOLDERS) if not p.is_file()]
        if absent or not self.names:
            what = f"no {absent[0]} ({len(absent)} files missing)" if absent else f"no */judge/*.npy in {root}"
            raise UserError(f"{self.key}: {what}; give the folder of the types, such as 2afc/val")
        self.people = np.array([np.load(self.path(name, "judge")).reshape(-1)[0] for name in self.names], dtype=float)
        self.type = np.array([name.partition("/")[0] for name in self.names])
        best = np.maximum(self.people, 1 - self.people)
        one = self.people**2 + (1 - self.people) ** 2
        self.scores = [
            Score(
                "agreement",
                "agreement with people's choices",
                agreement,
                direction="higher = chooses as more people do",
                chance=0.5,
                unit=f"{len(self.names)} triplets, jackknife, t",
                ceilings={
                    "people's majority": over_types(best, self.type),
                    "one more person": over_types(one, self.type),
                },
                role="headline",
                by="type",
                higher_is_better=True,
            )
        ]

    def path(self, name: str, folder: str) -> Path:
        """A file of an item."""
        kind, _, number = name.partition("/")
        return self.folder / kind / folder / f"{number}.{'npy' if folder == 'judge' else 'png'}"

    def stimuli(self) -> Iterator[Stimulus]:
        """Three images an item."""
        for name in self.names:
            for folder in FOLDERS[:3]:
                yield Stimulus(f"2afc/{name}/{folder}", partial(read_rgb, self.path(name, folder)), places=name)

    def pairs(self) -> list[tuple[str, str]]:
        """The reference with either."""
        return [(f"2afc/{name}/ref", f"2afc/{name}/{other}") for name in self.names for other in ("p0", "p1")]

    def items(self, features: Features) -> Items:
        """One choice each: by how much p1 is nearer than p0."""
        to_p0, to_p1 = features.pairs.distance(self.distance).reshape(-1, 2).T
        return Items({"p1_nearer_by": to_p0 - to_p1}, self.people, self.names, conditions={"type": self.type})


def agreement(items: Items) -> Estimate:
    """Mean of s over the types' means, with the interval for new triplets."""
    nearer, people = items.model["p1_nearer_by"], items.human
    reason = why_undefined(nearer)
    if reason:
        return undefined(reason)
    s = np.select([nearer > 0, nearer < 0], [people, 1 - people], 0.5)
    statistic: Callable[[Any], float] = lambda kept: over_types(s[kept], items.column("type")[kept])  # noqa: E731
    return jackknife(statistic, items.clusters["item"], limits=(0.0, 1.0))


def over_types(values: NDArray[np.float64], types: NDArray[np.str_]) -> float:
    """Mean over the types of their mean value."""
    return float(np.mean([values[types == kind].mean() for kind in np.unique(types)]))
