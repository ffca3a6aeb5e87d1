# SPDX-License-Identifier: Apache-2.0
"""Image-text retrieval on a WebDataset with several captions per image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.labelled_sources import shard_image
from clip_align.data.labelled_shards import CaptionedMember, ShardsUnusableError, captioned_members
from clip_align.errors import UserError, option_problem
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.ratio import ratio
from clip_align.metrics.retrieval import ranks_of_own
from clip_align.structure import Range

DEPTHS = (1, 5, 10)
FEWEST = 11  # images: with fewer, recall@10 is always 1
TO_TEXT, TO_IMAGE = "image_to_text", "text_to_image"


class Retrieval(PerceptualCallback):
    """Recall@1, 5 and 10 of captions by images and of images by captions, among all of the set.

    An image is right where one of its captions is among the k nearest of all captions; a caption where its image is
    among the k nearest of all images. Equal cosines count half. Higher = better; chance is that of guessing, and
    depends on the size of the set, as the recalls do; no human data. Intervals are over images: their captions are left
    out together.

    Any shards of images with captions: CLIP_benchmark's layout (a caption in each line of ``txt``), or a list in a
    json. COCO's 5,000 images with 25,000 captions need 10 + 50 MB of features (512 numbers each) and 0.3 GB for the
    cosines of 256 queries at a time.

    Args:
        shards: tars, as in ``data.shards``.
        caption_field: ``txt``, a caption in each line, or the json's field with a caption or a list of them.
        images: the first so many; None: all.
        captions_per_image: the first so many of each image; None: all.
        base: arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "captions by people, where the shards hold such"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the shards named in the options"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        shards: str,
        caption_field: str = "txt",
        images: Annotated[int | None, Range(low=FEWEST)] = None,
        captions_per_image: Annotated[int | None, Range(low=1)] = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        try:
            members = captioned_members(shards, caption_field)[:images]
        except ShardsUnusableError as error:
            raise UserError(option_problem(self.key, "shards", str(error))) from error
        except UserError as error:  # of data.shards, whose patterns these are
            problems = (option_problem(self.key, "shards", problem.text) for problem in error.problems)
            raise UserError(*problems) from error
        if len(members) < FEWEST:
            what = f"{shards} holds {len(members)} images; recall@10 needs at least {FEWEST}"
            raise UserError(option_problem(self.key, "shards", what))
        self.members = [m._replace(captions=m.captions[:captions_per_image]) for m in members]
        self.choose(self.members)

    def choose(self, members: Sequence[CaptionedMember], left_out: int = 0) -> None:
        """Set the images, captions and scores.

        Args:
            members: the images with the captions that are used.
            left_out: number of captions that are not.
        """
        self.used = [member for member in members if member.captions]
        # of each caption its text and the number of its image
        self.texts = [(text, number) for number, member in enumerate(self.used) for text in member.captions]
        self.scores = _scores(self.used, left_out)

    def adapt(self, model: ModelInfo) -> str | None:
        """Leave out captions with words that the tokenizer does not know, and images without another."""
        known = [m._replace(captions=tuple(t for t in m.captions if not model.unknown([t]))) for m in self.members]
        left_out = sum(len(m.captions) for m in self.members) - sum(len(m.captions) for m in known)
        count = sum(bool(m.captions) for m in known)
        if count < FEWEST:
            self.choose(self.members)
            return f"{count} of {len(self.members):,} images have a caption in words that the tokenizer knows"
        self.choose(known, left_out)
        return None

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once."""
        for member in self.used:
            yield Stimulus(_ident(member), partial(shard_image, Path(member.path), member.at, member.size))

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Each caption as a class of its own."""
        return {str(number): (text,) for number, (text, _) in enumerate(self.texts)}

    def items(self, features: Features) -> Items:
        """One item per query: every image, then every caption; the model's value is minus the rank of its own."""
        ids = [_ident(member) for member in self.used]
        images, texts = features[ids].mean(axis=1), features.prompts
        owners = np.array([number for _, number in self.texts])
        numbers = np.arange(len(self.used))
        ranks = [ranks_of_own(images, texts, numbers, owners), ranks_of_own(texts, images, owners, numbers)]
        return Items(
            -np.concatenate(ranks),
            np.concatenate([numbers, owners]),
            [*ids, *(f"{ids[owner]}/caption/{number}" for number, owner in enumerate(owners))],
            clusters={"image": np.concatenate([numbers, owners])},
            conditions={"query": np.repeat([TO_TEXT, TO_IMAGE], [len(numbers), len(owners)])},
        )


def _ident(member: CaptionedMember) -> str:
    tar = Path(member.path).absolute()
    # the first byte too: a key may occur twice in a tar
    return f"{tar.parent.name}/{tar.name}/{member.key}/{member.at}"


def _scores(members: Sequence[CaptionedMember], left_out: int) -> tuple[Score, ...]:
    captions = [len(member.captions) for member in members]
    size = f"{len(members):,} images, {sum(captions):,} captions"
    note = f"; {left_out:,} captions left out (unknown words)" if left_out else ""
    words = {TO_TEXT: "image to text", TO_IMAGE: "text to image"}
    return tuple(
        Score(
            f"{query}_recall_{depth}",
            f"{words[query]}, recall@{depth}",
            partial(_recall, query=query, depth=depth),
            direction="higher = more queries find their own",
            chance=_chance(query, depth, captions),
            unit=f"{size}, jackknife over images, t{note}",
            higher_is_better=True,
            role="headline" if depth == 1 else "detail",
        )
        for query in words
        for depth in DEPTHS
    )


def _chance(query: str, depth: int, captions: Sequence[int]) -> float:
    """The expected recall of a random order."""
    if query == TO_IMAGE:
        return min(1.0, depth / len(captions))
    total = sum(captions)
    # no own caption among the first k: a draw without replacement
    misses = [math.comb(total - own, depth) / math.comb(total, depth) for own in captions]
    return 1 - math.fsum(misses) / len(misses)


def _recall(items: Items, query: str, depth: int) -> Estimate:
    mine = items.where(items.conditions["query"] == query)
    ranks = -mine.model["value"]
    if not np.isfinite(ranks).any():
        return undefined("no ranks: the embeddings of all images or of all captions are equal or not finite")
    hits = np.nan_to_num(ranks, nan=np.inf) <= depth
    return ratio(hits, np.ones(len(hits)), mine.clusters["image"])
