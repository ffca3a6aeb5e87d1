# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on CIFAR-100's test images."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.toolkit import (
    Features,
    Holds,
    Items,
    ModelInfo,
    PerceptualCallback,
    Range,
    Score,
    Stimulus,
    accuracy,
    known_classes,
)

PART = "cifar100/test"


class CIFAR100(PerceptualCallback):
    """Which of CIFAR-100's classes is it? Those whose names the model has words for, with their own chance.

    ``root``: the folder of ``cifar-100-python``. ``images``: the first so many; None: all.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    licence: ClassVar[str] = "not stated"

    def __init__(
        self,
        root: Annotated[str, Holds("cifar-100-python/test")],
        images: Annotated[int | None, Range(low=1)] = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.folder = Path(root).expanduser() / "cifar-100-python"
        self.labels = np.array(unpickled(self.folder / "test")["fine_labels"][:images])
        self.names = unpickled(self.folder / "meta")["fine_label_names"]

    def adapt(self, model: ModelInfo) -> str | None:
        """Keep the classes whose names have words."""
        self.known = known_classes({n: n.replace("_", " ") for n in self.names}, ["a photo of a {}", "{}"], model)
        self.rows = np.flatnonzero(self.known.among(self.labels)).tolist()
        self.scores = self.scores_among(len(self.known))
        return self.known.reason

    def scores_among(self, classes: int) -> Sequence[Score]:
        """Accuracy, and that of every class."""
        return [self.accuracy("accuracy", "images named", "choice", role="headline", by="class")]

    def accuracy(self, name: str, label: str, column: str, **more: Any) -> Score:
        """Accuracy of one column of decisions."""
        return Score(
            name,
            label,
            lambda items: accuracy(items.model[column], items.human),
            direction="higher = more images named rightly",
            chance=self.known.chance,
            unit=self.known.unit(f"{len(self.rows)} images, Wilson"),
            higher_is_better=True,
            **more,
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """The images of the known classes."""
        for row in self.rows:
            yield Stimulus(f"{PART}/{row}", partial(image, self.folder, row), part=PART)

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Those of the known classes."""
        return self.known.prompts

    def items(self, features: Features) -> Items:
        """One image each."""
        return self.decided({"choice": self.known.decisions(features, [f"{PART}/{row}" for row in self.rows])})

    def decided(self, model: Mapping[str, NDArray[np.signedinteger]]) -> Items:
        """Decisions about the images, with what they show."""
        right = self.labels[self.rows]
        ids = [f"{PART}/{row}" for row in self.rows]
        return Items(model, right, ids, conditions={"class": np.array(self.names)[right]})


@cache  # of each process that makes images: it opens the file once
def unpickled(path: Path) -> dict[str, Any]:
    """A file of the archive, which Python 2 wrote."""
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def image(folder: Path, row: int) -> NDArray[np.uint8]:
    """A test image uint8 [32, 32, 3]; the archive has channels first."""
    return np.ascontiguousarray(unpickled(folder / "test")["data"][row].reshape(3, 32, 32).transpose(1, 2, 0))
