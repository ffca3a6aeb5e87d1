# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on the user's labelled images; ImageNet-style folders among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Features, Items, Score
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.labelled_images import LabelledImages
from clip_align.callbacks.common.labelled_sources import LabelledSource, labelled_set, names_from
from clip_align.callbacks.common.prompt_templates import templates_of
from clip_align.callbacks.common.top_accuracy import top_scores
from clip_align.metrics.accuracy import why_no_decisions
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.intervals import t95
from clip_align.open_clip_prompts import imagenet_names
from clip_align.perception import imagenet_by_samples
from clip_align.structure import Range

# what others reach on these classes, beside a curve over samples
_IMAGENET: Mapping[str, Any] = {"context": imagenet_by_samples.context(), "context_source": imagenet_by_samples.SOURCE}
MOST_TABLE = 100  # classes up to which each has an accuracy of its own in the record


class Folder(LabelledImages):
    """Classification of labelled images by prompts averaged over templates: a folder of yours, a csv, or shards.

    Higher = better; chance 1 / classes (of the known ones); no human data. ``accuracy`` counts images,
    ``accuracy_class_mean`` classes (mean per-class recall), which differs where classes are unequally large; up to 100
    classes each has an accuracy of its own in the record. Folders called by WordNet numbers (``n01440764``) have
    ImageNet's names, as CLIP's authors cleaned them, and with the 80 templates the published protocol; where all 1,000
    are there, what ViT-B/32 and ViT-S/32 reach after so many samples of DataComp-1B is drawn beside the curve. All
    50,000 validation images need 100 MB of features (512 numbers each), and 0.3 GB for decisions, made 4,096 images at
    a time.

    Args:
        root: folder with a sub-folder of images per class; with ``csv``, the folder that its paths are relative to.
        csv: table with the columns ``image_field`` and ``class_field``.
        shards: tars, as in ``data.shards``: an image and a json per key.
        class_field: column of the csv, or field of the shards' json; ``cls`` or ``txt``: the member so called.
        names: texts of classes in prompts by their labels, or a list of those of the labels 0, 1, …; other labels are
            themselves the text, with blanks for underscores.
        templates: ``imagenet`` (80), ``imagenet7``, ``cifar`` (18), ``plain``, ``names``, or texts with ``{}``.
        images_per_class: the first so many of each class; None: all.
        image_field: column of the csv with the images' paths.
        base: arguments of `PerceptualCallback`.
    """

    family: ClassVar[str] = "zero_shot"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the images named in the options"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        root: str | None = None,
        csv: str | None = None,
        shards: str | None = None,
        class_field: str = "class",
        names: Mapping[str, str] | Sequence[str] | None = None,
        templates: str | Sequence[str] = "imagenet",
        images_per_class: Annotated[int | None, Range(low=1)] = None,
        image_field: str = "image",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        source = LabelledSource(root, csv, shards, class_field, names_from(names), images_per_class, image_field)
        self.use(labelled_set(source, self.key), templates_of(templates, self.key))

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Accuracy over images and over classes, and with more than five classes the top-5 accuracy."""
        count = int(np.count_nonzero(known.among(self.images.labels)))
        headline = accuracy_score(
            "accuracy",
            "clean",
            known,
            count,
            higher_is_better=True,
            role="headline",
            by="class" if _tabled(known) else None,
            **(_IMAGENET if known.complete and set(self.images.texts) == set(imagenet_names()) else {}),
        )
        by_class = Score(
            "accuracy_class_mean",
            "clean, mean over classes",
            _class_mean,
            direction="higher = more images named rightly",
            chance=known.chance,
            unit=known.unit(f"{len(known)} classes, t({len(known) - 1})"),
            higher_is_better=True,
        )
        return headline, by_class, *top_scores(known, count)

    def items(self, features: Features) -> Items:
        """One item per image: the decision about it, and the correct class."""
        return self.table(self.clean(features))


def _tabled(known: KnownClasses) -> bool:
    """Whether each class has a key of its own: few enough, and different as lower-case words."""
    keys = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in known.names}
    return len(known.names) <= MOST_TABLE and len(keys - {""}) == len(known.names)


def _class_mean(items: Items) -> Estimate:
    """Mean accuracy of the classes, with an interval over classes."""
    reason = why_no_decisions(items.model["choice"])
    if reason:
        return undefined(reason)
    classes, of = np.unique(items.human, return_inverse=True)
    right = np.bincount(of, weights=items.model["choice"] == items.human) / np.bincount(of)
    value = float(right.mean())
    if len(classes) < 2:
        return Estimate(value)
    half = t95(len(classes) - 1) * float(right.std(ddof=1)) / np.sqrt(len(classes))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))
