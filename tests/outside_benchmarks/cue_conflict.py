# SPDX-License-Identifier: Apache-2.0
"""The original cue-conflict images: the shape of one class in the texture of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.toolkit import (
    Estimate,
    Existing,
    Features,
    Items,
    ModelInfo,
    PerceptualCallback,
    Range,
    Score,
    Stimulus,
    UserError,
    accuracy,
    known_classes,
    read_rgb,
    shape_hits,
    texture_bias,
    texture_bias_corrected,
    texture_hits,
)

NAMES = (
    "airplane bear bicycle bird boat bottle car cat chair clock dog elephant keyboard knife oven truck".split()  # noqa: SIM905
)
CLASSES = {name: f"{'an' if name[0] in 'aeo' else 'a'} {name}" for name in NAMES}
STEM = re.compile(r"([a-z]+)(\d+)-([a-z]+)(\d+)")  # bear1-airplane3: shape and exemplar, texture and exemplar
PLACES = (".", "stimuli/style-transfer-preprocessed-512", "cue-conflict")  # of the 16 folders, in a clone or a release
TEXTURE_OF_PEOPLE = 398 / (398 + 9236)  # decisions of ten observers: Geirhos et al. 2019, raw-data
EXEMPLARS = ("shape_exemplar", "texture_exemplar")


class CueConflict(PerceptualCallback):
    """Shape or texture? Decisions among 16 names about 1,280 images, 80 of them without a conflict.

    Texture bias = T/(S + T) of the 1,200 with one (Geirhos et al. 2019), null while decisions hardly follow either
    cue. Images share exemplars, so the intervals are for new shape and new texture exemplars. Of a model that has no
    words for some names, the images whose two classes it knows are used.
    ``root``: the 16 folders, or what they lie in. ``images``: how many must be there.
    """

    family: ClassVar[str] = "texture"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "decisions of 10 observers, Geirhos et al. 2019"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Geirhos et al., ICLR 2019, arXiv 1811.12231"
    licence: ClassVar[str] = "CC BY 4.0"

    def __init__(
        self,
        root: Annotated[str, Existing("folder")],
        images: Annotated[int, Range(low=1)] = 1280,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folders = [Path(root).expanduser() / place / name for place in PLACES for name in NAMES]
        self.files = {p.stem: p for folder in folders for p in sorted(folder.glob("*.*")) if STEM.fullmatch(p.stem)}
        if len(self.files) != images:
            raise UserError(
                f"{self.key}: {len(self.files)} images such as bear/bear1-airplane3.png in {root}, not {images}; "
                "give the folder of the 16 class folders, and images=… for a subset"
            )

    def adapt(self, model: ModelInfo) -> str | None:
        """Keep the images whose two classes have words."""
        self.known = known_classes(CLASSES, ["a photo of {}", "{}"], model)
        parsed = {stem: STEM.fullmatch(stem).groups() for stem in self.files}  # type: ignore[union-attr]
        labels = {stem: (NAMES.index(shape), NAMES.index(of)) for stem, (shape, _, of, _) in parsed.items()}
        self.stems = [stem for stem, pair in labels.items() if self.known.among(pair).all()]
        self.labels = np.array([labels[stem] for stem in self.stems]).reshape(-1, 2)
        self.exemplars = [stem.split("-") for stem in self.stems]
        self.scores = self.scores_among(len(self.known))
        return self.known.reason

    def scores_among(self, classes: int) -> Sequence[Score]:
        """The bias as published and corrected for guesses, the hits of both cues, and accuracy where they agree."""
        unit = self.known.unit("shape and texture exemplars, two-way jackknife, t")
        cue = partial(Score, unit=unit, drawn_after=2)
        biased = partial(cue, direction="higher = decided by texture, lower = by shape")
        named = partial(cue, chance=self.known.chance, role="companion", by="shape_class")
        return (
            biased(
                "texture_bias",
                "texture bias",
                partial(bias, metric=texture_bias, classes=classes),
                chance=0.5,
                ceilings={"people": TEXTURE_OF_PEOPLE},
                role="headline",
            ),
            biased(
                "texture_bias_corrected",
                "corrected for guesses",
                partial(bias, metric=texture_bias_corrected, classes=classes),
                role="companion",
                drawn_after_of="texture_bias",
            ),
            named("shape_hits", "shape hits", partial(hits, metric=shape_hits), direction="higher = more for shape"),
            named(
                "texture_hits",
                "texture hits",
                partial(hits, metric=texture_hits),
                direction="higher = more for texture",
            ),
            Score(
                "accuracy_same",
                "no conflict",
                accuracy_same,
                direction="higher = more images named rightly",
                chance=self.known.chance,
                higher_is_better=True,
            ),
        )

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, at their stored size."""
        for stem in self.stems:
            yield Stimulus(f"cue_conflict/{stem}", partial(read_rgb, self.files[stem]), part="cue_conflict")

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Those of the classes that have words."""
        return self.known.prompts

    def items(self, features: Features) -> Items:
        """One image each: the decision, the class of the shape, that of the texture."""
        shape, texture = self.labels.T
        return Items(
            {"choice": self.known.decisions(features, [f"cue_conflict/{stem}" for stem in self.stems])},
            shape,
            self.stems,
            clusters=dict(zip(EXEMPLARS, np.array(self.exemplars).T, strict=True)),
            conditions={"shape": shape, "texture": texture, "shape_class": np.array(NAMES)[shape]},
        )


def hits(items: Items, metric: Callable[..., Estimate]) -> Estimate:
    """Decisions for one cue, of all about conflicts."""
    return metric(*decisions(items), clusters=exemplars(items))


def bias(items: Items, metric: Callable[..., Estimate], classes: int) -> Estimate:
    """A bias of the conflicts, undefined while the decisions hardly follow either cue."""
    return metric(*decisions(items), classes, clusters=exemplars(items))


def decisions(items: Items) -> tuple[Any, Any, Any]:
    """Choice, class of the shape and class of the texture, each [N]."""
    return items.model["choice"], items.column("shape"), items.column("texture")


def exemplars(items: Items) -> list[Any]:
    """Labels [N] of the shape's and the texture's exemplar, which images share."""
    return [items.column(name) for name in EXEMPLARS]


def accuracy_same(items: Items) -> Estimate:
    """Accuracy where both cues are of one class."""
    of = items.where(items.column("shape") == items.column("texture"))
    return accuracy(of.model["choice"], of.human)
