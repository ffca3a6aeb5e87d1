# SPDX-License-Identifier: Apache-2.0
"""Images of the training data that are never trained on, each retrieved among candidates by its caption."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, ModelInfo, PerceptualCallback
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.labelled_images import LabelledImages, LabelledSet
from clip_align.callbacks.common.labelled_sources import shard_image
from clip_align.callbacks.common.prompted_benchmark import PromptedBenchmark
from clip_align.data.held_out import HeldOutSamples
from clip_align.errors import Problem, UserError, option_problem
from clip_align.metrics.retrieval import choices_among, choices_and_first_among
from clip_align.structure import Range

__all__ = ["Candidates", "RetrievedImages", "candidates_of", "held_out_set", "without_class_names"]

FEWEST = 3  # as many as the classes of other zero-shot benchmarks
WITHOUT_CLASS_NAMES = (
    "callbacks: images are retrieved by their captions; zero-shot accuracy and texture bias need class names: add "
    "callbacks=[shards,folder,cue_conflict] and callbacks.folder.root=<folder with a sub-folder of images per class>"
)
MOST_BY_DEFAULT = 100  # candidates, where there are so many different captions


@dataclass(frozen=True, eq=False)
class Candidates(KnownClasses):
    """The captions among which each image is to find its own, in place of classes.

    A "class" is a position among the candidates: there are as many as candidates. ``prompts`` are the different
    captions. usable: numbers of the images whose captions are known. among_texts: int64 [usable, C], numbers of
    prompts. own: position [usable] of an image's own caption in its row. row: of an image's id.
    """

    usable: tuple[int, ...] = ()
    among_texts: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    own: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    row: Mapping[str, int] = field(default_factory=dict)

    def among(self, labels: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of the images, by their numbers, can be evaluated."""
        return np.isin(np.asarray(labels), np.asarray(self.usable, dtype=np.int64))

    def right(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the own captions of images, by their numbers."""
        rows = {number: row for row, number in enumerate(self.usable)}
        return self.own[[rows[number] for number in labels.tolist()]]

    def decisions(self, features: Features, ids: Sequence[str]) -> NDArray[np.signedinteger[Any]]:
        """Positions of the nearest candidates of images [N]; -1 for none.

        ``ids`` may be those of changed images: the images are those of `row`, in its order, whatever was done to them.
        """
        return choices_among(self._averaged(features, ids), features.prompts, self.among_texts)

    def decisions_and_first(
        self, features: Features, ids: Sequence[str], right: NDArray[np.int64], count: int
    ) -> tuple[NDArray[np.signedinteger[Any]], NDArray[np.bool_]]:
        """`decisions`, and whether an image's own caption is among the first ``count`` of its candidates.

        Args:
            features: with all captions as prompts.
            ids: of the images, as in `decisions`.
            right: positions [N] of their own captions.
            count: of candidates that are looked at.
        """
        images = self._averaged(features, ids)
        return choices_and_first_among(images, features.prompts, self.among_texts, right, count)

    def _averaged(self, features: Features, ids: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Embeddings [N, D] of the images, averaged over their tiles."""
        images = features[ids]  # [N, V, D]
        if len(ids) != len(self.own):
            raise ValueError(f"{len(ids)} images, expected all {len(self.own)} that can be evaluated")
        return np.asarray(images.mean(axis=1))


class RetrievedImages(LabelledImages):
    """A benchmark on labelled images whose images are `held_out_set`, and whose classes are candidates.

    Args:
        candidates: captions among which each image chooses; None: 100, or as many different ones as there are.
        held_out_samples: handed over by the training; not an option.
        base: arguments of the next class, `LabelledImages` or one that derives from it.
    """

    label_column: ClassVar[str] = "key"

    def __init__(
        self,
        candidates: Annotated[int | None, Range(low=FEWEST, high=10_000)] = None,
        held_out_samples: Any = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.candidates = candidates
        self.use(held_out_set(held_out_samples, candidates, self.key), ())

    def known_for(self, model: ModelInfo | None) -> Candidates:
        """The candidates of every image whose caption has words that the model's tokenizer knows."""
        return candidates_of(self.images, self.candidates, model)


def held_out_set(samples: HeldOutSamples | None, candidates: int | None, benchmark: str) -> LabelledSet:
    """The images of held-out samples; labels are their numbers, texts their captions, the first of several.

    Args:
        samples: held out of the training data; None: they were not handed over.
        candidates: captions among which each image is to find its own; None: as many as there are, up to 100.
        benchmark: key of the benchmark, for error messages.

    UserError where there are too few samples, or too few different captions.
    """
    if samples is not None and not isinstance(samples, HeldOutSamples):  # an option that was typed
        raise UserError(option_problem(benchmark, "held_out_samples", "held_out_samples: not an option; leave it out"))
    found = () if samples is None else samples.samples
    captions = [sample.captions[0] for sample in found]
    different = len(set(captions))
    needed = candidates or FEWEST
    if different < needed:
        fewer = ", or give fewer candidates" if needed > FEWEST else ""
        what = (
            f"{benchmark} needs {needed} different captions of samples that are not trained on, there are "
            f"{different}; hold samples out with data.held_out=1000{fewer}, or leave this benchmark out"
        )
        raise UserError(Problem("data.held_out", what))
    return LabelledSet(
        part="held_out/images",
        ids=[f"held_out/{sample.key}" for sample in found],
        loads=[partial(shard_image, Path(sample.path), sample.at, sample.size) for sample in found],
        labels=np.arange(len(found)),
        texts=dict(zip((sample.key for sample in found), captions, strict=True)),
    )


def without_class_names(callbacks: Sequence[PerceptualCallback]) -> str | None:
    """A line for the user where captions are all that images are named by; None where some benchmark names classes."""
    retrieves = [isinstance(c, RetrievedImages) for c in callbacks if isinstance(c, PromptedBenchmark)]
    return WITHOUT_CLASS_NAMES if retrieves and all(retrieves) else None


def candidates_of(images: LabelledSet, count: int | None, model: ModelInfo | None = None) -> Candidates:
    """The candidates of every image whose caption has words that the model's tokenizer knows.

    An image's candidates are its own caption and those of the images that follow it, each text once; where its own is
    among them follows from its id.

    Args:
        images: of `held_out_set`.
        count: of candidates; None: as many as there are different captions, up to 100.
        model: the model under evaluation; None: every word is known.
    """
    captions = list(images.texts.values())
    unknown = {text for text in set(captions) if model is not None and model.unknown([text])}
    usable = tuple(number for number, text in enumerate(captions) if text not in unknown)
    texts = list(dict.fromkeys(captions[number] for number in usable))
    needed = count or FEWEST
    count = count or max(FEWEST, min(MOST_BY_DEFAULT, len(texts)))
    positions = tuple(str(position) for position in range(count))
    if len(texts) < needed:
        reason = (
            f"of its {len(captions):,} held-out captions {len(texts):,} different ones have words that the tokenizer "
            f"knows, {needed} are needed"
        )
        return Candidates(positions, tuple(range(count)), {}, reason=reason)
    number_of = {text: number for number, text in enumerate(texts)}
    own_text = np.array([number_of[captions[number]] for number in usable])
    among = np.empty((len(usable), count), np.int64)
    own = np.empty(len(usable), np.int64)
    for row, number in enumerate(usable):
        # texts are in the order of the keys' hashes: those that follow are a random choice
        others = (own_text[row] + 1 + np.arange(count - 1)) % len(texts)
        digest = hashlib.blake2b(images.ids[number].encode(), digest_size=8).digest()
        own[row] = int.from_bytes(digest, "big") % count
        among[row] = np.insert(others, own[row], own_text[row])
    left_out = len(usable) < len(captions)
    note = f"{len(usable):,} of {len(captions):,} captions (the others have unknown words)" if left_out else ""
    prompts = {str(n): (text,) for n, text in enumerate(texts)}
    rows = {images.ids[number]: row for row, number in enumerate(usable)}
    return Candidates(positions, tuple(range(count)), prompts, note, None, usable, among, own, rows)
