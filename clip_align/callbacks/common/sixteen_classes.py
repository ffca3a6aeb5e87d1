# SPDX-License-Identifier: Apache-2.0
"""The common part of the benchmarks of Geirhos et al. (2019): images on disk, decisions among 16 classes, human trials.

Decision rules (``decision``), both published:

- ``names``: zero-shot among the 16 names, arg max of the cosine (Gavrikov et al. 2025, arXiv 2403.09193).
- ``imagenet_names``: zero-shot among ImageNet's 1,000 class names, softmax of 100 times the cosine, then the mean
  probability of each of the 16 (model-vs-human's CLIP). 1,000 classes x templates: 80,000 texts an evaluation.
- ``imagenet_logits``: the same rule for a classifier whose ``encode_image`` returns 1,000 logits; no prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.common.known_classes import FEWEST_CLASSES, KnownClasses, known_classes
from clip_align.errors import UserError, option_problem
from clip_align.metrics.accuracy import NO_CHOICE, choices, why_no_decisions
from clip_align.metrics.agreement import error_consistency_with, mean_pairwise_error_consistency
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.vectors import unit
from clip_align.open_clip_prompts import imagenet_class_names, imagenet_templates
from clip_align.perception.cue_conflict import LICENCE, SOURCE, CueImage, ImagesError
from clip_align.perception.cue_conflict_people import ImageSet, PeopleCounts, people
from clip_align.perception.image_files import read_rgb
from clip_align.perception.sixteen_classes import (
    CATEGORIES,
    IMAGENET_CLASSES,
    category_numbers,
    decisions_by_mean_probability,
)
from clip_align.perception.trials import TrialsError, is_human, read_folder
from clip_align.spelling import nearest
from clip_align.structure import Distinct, Existing

Decision = Literal["names", "imagenet_names", "imagenet_logits"]
Templates = Literal["imagenet", "photo", "bare"]
TEMPLATES: Mapping[str, tuple[str, ...]] = {"photo": ("a photo of a {}.",), "bare": ("{}",)}
COSINE_SCALE = 100  # CLIP's logits are 100 times the cosine


class SixteenClasses(PerceptualCallback):
    """Decisions about images on disk among the 16 classes of Geirhos et al.; a subclass reads images and has scores.

    Args:
        root: folder of the 16 class folders, or one of the ``places`` of its download above them (a clone).
        classes: those of the 16 whose images are used and that may be chosen; None: all that the model has words for.
        words: word of a class in prompts where it is not the class's own name: ``{car: automobile, boat: ship}``.
        templates: prompts, averaged: ``imagenet`` (OpenAI's 80), ``photo`` (a photo of a {}.), ``bare`` (the name).
        decision: rule, see the module.
        trials: folder of the trial files of the same images, for error consistency with people; None: the one of a
            clone in ``root``, where there is one.
        base: arguments of `PerceptualCallback`.

    UserError, before step 0, for missing or damaged images, trials that lack an image, and unknown classes.
    """

    human_data: ClassVar[str] = "10 observers: counts by class pair, and their trials where these are given"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = f"{SOURCE}; github.com/rgeirhos/texture-vs-shape"
    licence: ClassVar[str] = LICENCE
    image_set: ClassVar[ImageSet]
    trial_folders: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        root: str,
        classes: Annotated[Sequence[str] | None, Distinct()] = None,
        words: Mapping[str, str] | None = None,
        templates: Templates = "imagenet",
        decision: Decision = "names",
        trials: Annotated[str | None, Existing("folder")] = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.decision = decision
        self.chosen = self._chosen(classes)
        self.texts = {name: (words or {}).get(name, name) for name in self.chosen}
        self._check_words(words or {})
        self.templates = imagenet_templates() if templates == "imagenet" else TEMPLATES[templates]
        assert self.download is not None  # every subclass has one
        folder = replace(self.download, needed=self.chosen).folder(root, self.key)
        try:
            self.every = self.read_images(folder)
        except ImagesError as error:
            raise UserError(option_problem(self.key, "root", str(error))) from error
        self.right = self._people_right(Path(root).expanduser(), trials)
        self._use(known_classes(self.texts, self.templates))  # until `adapt`

    def read_images(self, folder: Path) -> Sequence[CueImage]:
        """The images of ``self.chosen`` in the folder; ImagesError where they are not as distributed."""
        raise NotImplementedError(f"{type(self).__name__} must define read_images()")

    def scores_for(self, known: KnownClasses, of_people: PeopleCounts) -> Sequence[Score]:
        """The scores, with chance, unit and human values for the known classes."""
        raise NotImplementedError(f"{type(self).__name__} must define scores_for()")

    def adapt(self, model: ModelInfo) -> str | None:
        """Restrict the classes to those whose words the tokenizer knows."""
        known = known_classes(self.texts, self.templates, model if self.decision == "names" else None)
        reason = known.reason
        if self.decision == "imagenet_names":
            names = imagenet_class_names()
            unknown = model.unknown([*names, *(template.replace("{}", " ") for template in self.templates)])
            if unknown:
                reason = (
                    f"the tokenizer does not know {len(unknown)} words of ImageNet's 1,000 classes: {unknown[0]}, …"
                )
        # a null benchmark describes its scores for all classes
        self._use(known if reason is None else known_classes(self.texts, self.templates))
        return reason

    def stimuli(self) -> list[Stimulus]:
        """The images of the known classes, at their stored size."""
        return [
            Stimulus(self.image_id(image), partial(read_rgb, image.path), part=self.image_set) for image in self.images
        ]

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Prompts of the known classes, or of ImageNet's."""
        if self.decision == "imagenet_logits":
            return {}
        if self.decision == "names":
            return self.known.prompts
        # numbered: two names are those of two classes each
        return {
            f"{number} {name}": [template.replace("{}", name) for template in self.templates]
            for number, name in enumerate(imagenet_class_names())
        }

    def image_id(self, image: CueImage) -> str:
        """Id of an image's stimulus."""
        return f"{self.image_set}/{image.stem}"

    def decisions(self, features: Features) -> NDArray[np.int8]:
        """Decisions about ``self.images`` as numbers among the 16 classes; -1 for none."""
        ids = [self.image_id(image) for image in self.images]
        if self.decision == "names":
            chosen = self.known.decisions(features, ids)  # among the classes of this run
            return np.where(chosen >= 0, category_numbers(self.chosen)[chosen], NO_CHOICE).astype(np.int8)
        images = features[ids].mean(axis=1).astype(np.float64)  # [N, D], of the tiles
        by_names = self.decision == "imagenet_names"
        of_classes = features.prompts if by_names else np.eye(IMAGENET_CLASSES)
        if images.shape[1] != of_classes.shape[1]:
            return np.full(len(ids), NO_CHOICE, dtype=np.int8)  # `unusable` has the reason
        usable = choices(images, of_classes) >= 0  # not where the model is collapsed or an image is not finite
        with np.errstate(invalid="ignore", divide="ignore"):  # rows that are not usable
            logits = COSINE_SCALE * unit(images) @ unit(of_classes.astype(np.float64)).T if by_names else images
        among = category_numbers([self.chosen[number] for number in self.known.kept]).tolist()
        return np.where(usable, decisions_by_mean_probability(logits, among), NO_CHOICE).astype(np.int8)

    def unusable(self, features: Features) -> str | None:
        """Why the model's output cannot be used under the decision rule; None where it can."""
        width = features.images.shape[-1]
        if self.decision != "imagenet_logits" or width == IMAGENET_CLASSES:
            return None
        return f"decision=imagenet_logits needs {IMAGENET_CLASSES:,} logits from encode_image, not {width}"

    def consistency_scores(self) -> list[Score]:
        """Error consistency with people, where their trials were given."""
        if not self.right:
            return []
        right = np.stack([self.right[image.stem] for image in self.images], axis=1)  # [observers, N]
        between = mean_pairwise_error_consistency(right)
        ceilings = {"between people": between} if np.isfinite(between) else {}
        return [
            Score(
                "error_consistency",
                "error consistency with people",
                partial(_consistency, right=self.right),
                direction="higher = right and wrong on the same images as people, beyond what accuracies alone give",
                chance=0.0,
                unit=self.known.unit(f"{len(right)} people, {self.cluster_unit()}"),
                axis=(-1.0, 1.0),
                ceilings=ceilings,
                role="companion",
                higher_is_better=True,
            )
        ]

    def cluster_unit(self) -> str:
        """What the interval of error consistency resamples, as text."""
        return f"{len(self.images):,} images, jackknife, t"

    def _use(self, known: KnownClasses) -> None:
        self.known = known
        names = [self.chosen[number] for number in known.kept] or list(self.chosen)
        self.images = [one for one in self.every if one.shape in names and (one.texture or one.shape) in names]
        self.scores = self.scores_for(known, people(self.image_set, names))

    def _chosen(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        wrong = [name for name in classes or () if name not in CATEGORIES]
        if wrong:
            raise UserError(option_problem(self.key, "classes", f"{_unknown_class(wrong[0])}"))
        if classes is not None and len(classes) < FEWEST_CLASSES:
            what = f"{len(classes)} classes given, at least {FEWEST_CLASSES} are needed"
            raise UserError(option_problem(self.key, "classes", what))
        return tuple(name for name in CATEGORIES if classes is None or name in classes)  # in the order of CATEGORIES

    def _check_words(self, words: Mapping[str, str]) -> None:
        for name, word in words.items():
            if name not in self.chosen:
                what = f"{name} is not among classes" if name in CATEGORIES else _unknown_class(name)
                raise UserError(option_problem(self.key, "words", what))
            if not word.strip():
                raise UserError(option_problem(self.key, "words", f"the word of {name} is empty; leave it out"))
        twice = [text for text in self.texts.values() if list(self.texts.values()).count(text) > 1]
        if twice:
            raise UserError(option_problem(self.key, "words", f"two classes would be called {twice[0]} in prompts"))

    def _people_right(self, root: Path, given: str | None) -> dict[str, NDArray[np.bool_]]:
        """Whether each human observer was right [M], by image; empty without trials."""
        folder = (
            Path(given).expanduser()
            if given
            else next((root / part for part in self.trial_folders if (root / part).is_dir()), None)
        )
        if folder is None:
            return {}
        stems = [image.stem for image in self.every]
        shapes = category_numbers([image.shape for image in self.every])
        try:
            humans = [trials for trials in read_folder(folder) if is_human(trials.observer)]
            if not humans:
                raise TrialsError(f"no trials of people in {folder}, such as <experiment>_subject-01_session_1.csv")
            right = np.stack([trials.of(stems) == shapes for trials in humans])  # [M, N]
        except TrialsError as error:
            raise UserError(option_problem(self.key, "trials", str(error))) from error
        return dict(zip(stems, right.T, strict=True))


def _consistency(items: Items, right: Mapping[str, NDArray[np.bool_]]) -> Estimate:
    reason = why_no_decisions(items.model["choice"])
    if reason:
        return undefined(reason)
    of_people = np.stack([right[name] for name in items.ids], axis=1)
    labels = [of for name, of in items.clusters.items() if name != "item"]
    return error_consistency_with(items.model["choice"] == items.human, of_people, labels)


def _unknown_class(name: str) -> str:
    guess = nearest(name, CATEGORIES)
    hint = f"did you mean {guess}? " if guess else ""
    return f"{name} is none of the 16 classes; {hint}valid: {', '.join(CATEGORIES)}"
