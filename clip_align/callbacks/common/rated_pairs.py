# SPDX-License-Identifier: Apache-2.0
"""What benchmarks on image-quality databases share: a database is a reader of its files and a few lines of facts.

A subclass defines ``download``, ``database`` and facts about the scores of the whole database (``published``,
``limits``), and its constructor hands what its reader returns to `RatedPairs.take`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Download, Features, Items, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.pair_scores import judged, minus_distances, rated_pair_scores
from clip_align.perception.distances import DistanceName
from clip_align.perception.image_files import read_rgb
from clip_align.perception.observers import LEVEL_ALONE, ConditionAlone, Labels, Observer, PairSet
from clip_align.perception.rated_pairs import RatedPair
from clip_align.structure import Range

__all__ = ["PROTOCOLS", "Protocol", "ProtocolName", "RatedPairs", "of_psnr"]

ProtocolName = Literal["clip_alignment", "vit_alignment", "visturing"]
Numbers = Mapping[str, Mapping[str, float]]  # by score and label
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Protocol:
    """How one of the authors' public evaluations compares images: a distance, and further arguments of the base."""

    distance: DistanceName
    options: Mapping[str, Any] = field(default_factory=dict)


PROTOCOLS: Mapping[ProtocolName, Protocol] = MappingProxyType(
    {
        # pablohc97/Evaluating_Human-CLIP_Alignment_at_Different_Abstraction_Levels, 2024: the projection, and
        # hidden states with all tokens. Inputs below 128 px see tiles instead of the centre.
        "clip_alignment": Protocol("normalised_euclidean"),
        # jmjaenlorites/vit-human-alignment-framework, 2025: every block's output, all tokens in one vector
        "vit_alignment": Protocol("cosine", {"view": "resize_crop", "layers": ("projection", "all"), "tokens": "all"}),
        # Jorgvt/visturing, 2026: class token only, images squashed to the input
        "visturing": Protocol("euclidean", {"view": "squash", "layers": ("projection", "all"), "tokens": "class"}),
    }
)


class RatedPairs(PerceptualCallback):
    """Opinions of distorted images, correlated with the model's distances to their references.

    Args:
        root: folder of the database.
        protocol: one of `PROTOCOLS`, the authors' public evaluations: ``clip_alignment`` (normalized Euclidean distance
            of the projection, or of all tokens of ``layers``), ``vit_alignment`` (cosine of all tokens, every layer),
            ``visturing`` (Euclidean distance of the class token, every layer, images squashed). Arguments given
            besides, such as ``layers`` or ``view``, replace the protocol's.
        distance: of two embeddings; None: the protocol's. The others have scores of their own names.
        tiles: number of tiles per image for models with an input below 128 px.
        references: number of references, spread evenly over the database, with all their distortions; None: all.

    Scores are oriented: positive = aligned, whatever the direction of the database's own scale.
    """

    family: ClassVar[str] = "human"
    stand_in: ClassVar[str] = "none"
    download: ClassVar[Download]
    database: ClassVar[str]
    published: ClassVar[Numbers] = NOTHING  # baselines of the whole database, by score and observer
    limits: ClassVar[Numbers] = NOTHING  # ceilings of the whole database, by score and kind
    reported: ClassVar[Mapping[str, float]] = NOTHING  # what others report of models, by model
    reported_source: ClassVar[str] = ""

    def __init__(
        self,
        root: str,
        protocol: ProtocolName = "clip_alignment",
        distance: DistanceName | None = None,
        tiles: Annotated[int, Range(low=1)] = 4,
        references: Annotated[int | None, Range(low=2)] = None,
        **base: Any,
    ) -> None:
        super().__init__(**{**PROTOCOLS[protocol].options, **base})
        self.distance: DistanceName = distance or PROTOCOLS[protocol].distance
        self.tiles, self.references = tiles, references
        self.folder = self.download.folder(root, self.key)
        self.rated: tuple[RatedPair, ...] = ()

    def take(self, pairs: Sequence[RatedPair], whole: bool = True) -> None:
        """Use these pairs, and describe the scores over them.

        Args:
            pairs: as a reader returns them.
            whole: they are the whole database, of which ``published``, ``limits`` and ``reported`` speak.
        """
        self.rated = tuple(pairs)
        known = _without_images(self.rated)
        if whole and self.references is None:
            context = {"srocc": self.reported}
            baselines, ceilings = _both(self.published, known[0]), _both(self.limits, known[1])
        else:
            context, (baselines, ceilings) = {}, known
        self.scores = tuple(
            replace(
                score,
                baselines=baselines.get(score.name, {}),
                ceilings=ceilings.get(score.name, {}),
                context=context.get(score.name, {}),
                context_source=self.reported_source if score.name in context else "",
            )
            for score in self._described()
        )

    @property
    def options(self) -> Mapping[str, Any]:
        """The constructor's arguments as plain values, those that the protocol stands for among them."""
        stood_for = {"distance": self.distance, "view": self.view, "layers": list(self.layers), "tokens": self.tokens}
        return {**super().options, **stood_for}

    def stimuli(self) -> Iterator[Stimulus]:
        """Each reference and each distorted image once, tiled at the reference's places."""
        places = {pair.reference: pair.cluster for pair in self.rated}
        places |= {pair.distorted: pair.cluster for pair in self.rated}
        for path, cluster in places.items():
            place = f"{self.database}/{cluster}"
            yield Stimulus(self._id(path), partial(read_rgb, path), places=place, part=self.database)

    def pairs(self) -> list[tuple[str, str]]:
        """Reference and distorted image of each pair."""
        return [(self._id(pair.reference), self._id(pair.distorted)) for pair in self.rated]

    def items(self, features: Features) -> Items:
        """One item per pair; ``identical_pairs`` of them have the distance 0."""
        model, notes = minus_distances(features, self.distance)
        notes["identical_pairs"] = float(np.count_nonzero(model[self.distance] == 0))
        columns = _columns(self.rated)
        return Items(
            model,
            _opinions(self.rated),
            [self._id(pair.distorted) for pair in self.rated],
            {name: columns[name] for name in ("reference", "type")},
            {"level": columns["level"]} if "level" in columns else {},
            notes,
        )

    def _described(self) -> list[Score]:
        """The scores of the pairs, without reference values."""
        columns = _columns(self.rated)
        references, types = (len(np.unique(columns[name])) for name in ("reference", "type"))
        return rated_pair_scores(self.distance, references, types, levels="level" in columns)

    def _id(self, path: Path) -> str:
        return f"{self.database}/{path.relative_to(self.folder).as_posix().lower()}"


def of_psnr(known: Mapping[str, float]) -> Mapping[str, Mapping[str, float]]:
    """Published scores of PSNR over RGB, by score, as `RatedPairs.published` has them."""
    return {score: {"PSNR (RGB)": value} for score, value in known.items()}


def _columns(pairs: Sequence[RatedPair]) -> dict[str, NDArray[Any]]:
    """Labels [P] of the pairs: reference, type, and level where every pair has one."""
    columns = {"reference": np.array([p.cluster for p in pairs]), "type": np.array([p.type for p in pairs])}
    levels = [p.level for p in pairs if p.level is not None]
    return {**columns, "level": np.array(levels)} if len(levels) == len(pairs) else columns


def _opinions(pairs: Sequence[RatedPair]) -> NDArray[np.float64]:
    return np.array([p.opinion for p in pairs])


def _without_images(pairs: Sequence[RatedPair]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Baselines and ceilings of observers that see no image, by score and label; undefined ones are left out."""
    columns, human = _columns(pairs), _opinions(pairs)
    given = PairSet(len(pairs), lambda: iter(()), lambda: Labels(columns, human))
    baselines: dict[str, Observer] = {"type alone": ConditionAlone(("type",))}
    ceilings: dict[str, Observer] = {}
    if "level" in columns:
        baselines["level alone"] = LEVEL_ALONE
        # the mean opinion of the same type and level over the other references
        ceilings["content-blind"] = ConditionAlone(("type", "level"))
    return judged(baselines, given), judged(ceilings, given)


def _both(first: Numbers, second: Numbers) -> dict[str, dict[str, float]]:
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in {**first, **second}}
