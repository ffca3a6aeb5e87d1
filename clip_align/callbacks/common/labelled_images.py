# SPDX-License-Identifier: Apache-2.0
"""Labelled images of any source: zero-shot accuracy, clean and under noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, Items, ModelInfo, Score, Stimulus
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.callbacks.common.noise_scores import CLEAN, limit_note, noise_scores
from clip_align.callbacks.common.prompted_benchmark import PromptedBenchmark
from clip_align.callbacks.common.top_accuracy import TOP, TOP_COLUMN, top_scores
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.stimulus import View
from clip_align.evaluation.views import chosen_view, cut
from clip_align.metrics.accuracy import NO_CHOICE
from clip_align.perception.cifar_c import FILES, SEVERITIES, CorruptionFile
from clip_align.perception.corruptions import (
    CORRUPTIONS,
    Corruption,
    CorruptionName,
    Rounding,
    corrupted,
    hundredths,
)
from clip_align.structure import Distinct, Range

__all__ = ["LabelledImages", "LabelledSet", "NoisyImages", "Resolution", "changed_image"]

Load = Callable[[], NDArray[np.uint8]]
Resolution = Literal["native", "model"]


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images with the numbers of their classes.

    part: name under which they are cached, common to all benchmarks that use them. ids: of the images; in ``part`` an
    image has one id. loads: makes each image, uint8 [H, W, 3]. labels: int64 [N], numbers of ``texts``. texts: text of
    a class in prompts by its name. view: under which clean images are seen; None: chosen by the model's size. size: of
    the images in px, for the default levels of noise; None: the model's. context: accuracies that others report for
    these images, by name. context_source: where those are from.
    """

    part: str
    ids: Sequence[str]
    loads: Sequence[Load]
    labels: NDArray[np.int64]
    texts: Mapping[str, str]
    view: View | None = None
    size: int | None = None
    context: Mapping[str, float] = field(default_factory=dict)
    context_source: str = ""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.loads) == len(self.labels):
            raise ValueError(f"{len(self.ids)} ids, {len(self.loads)} images and {len(self.labels)} labels")


class LabelledImages(PromptedBenchmark):
    """Decisions about labelled images among their classes.

    A subclass calls `use` at the end of its constructor.

    Args:
        base: arguments of `PerceptualCallback`.
    """

    images: LabelledSet
    label_column: ClassVar[str] = "class"  # of the items

    def use(self, images: LabelledSet, templates: Sequence[str]) -> None:
        """Set the images and the prompts.

        Args:
            images: labelled images.
            templates: prompts with ``{}`` for the class.
        """
        self.images = images
        self.choose_among(images.texts, templates)

    def rows(self) -> list[int]:
        """Numbers of the images whose class is known."""
        return np.flatnonzero(self.known.among(self.images.labels)).tolist()

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, clean."""
        images = self.images
        for row in self.rows():
            yield Stimulus(images.ids[row], images.loads[row], images.view, part=images.part)

    def clean(self, features: Features, column: str = "choice") -> dict[str, NDArray[np.signedinteger]]:
        """Decisions [N] about the clean images of `rows`, and with more than five classes what `top_scores` reads.

        Args:
            features: of the images.
            column: name of the decisions.
        """
        rows = self.rows()
        ids = [self.images.ids[row] for row in rows]
        if len(self.known) <= TOP:
            return {column: self.decisions(features, ids)}
        right = self.known.right(self.images.labels[rows])
        chosen, among = self.known.decisions_and_first(features, ids, right, TOP)
        return {column: chosen, TOP_COLUMN: np.where(chosen >= 0, among, NO_CHOICE).astype(np.int8)}

    def table(self, choices: Mapping[str, NDArray[np.signedinteger]]) -> Items:
        """One item per image: the decisions about it, and the correct class.

        ``choices``: decisions [N] about the images of `rows`, by column.
        """
        rows = self.rows()
        labels = self.images.labels[rows]
        names = np.array(list(self.images.texts))
        ids = [self.images.ids[row] for row in rows]
        return Items(choices, self.known.right(labels), ids, conditions={self.label_column: names[labels]})


class NoisyImages(LabelledImages):
    """The same labelled images clean and corrupted, by default under Gaussian noise at the published sigmas.

    Args:
        corruption: ``gaussian_noise``, ``uniform_noise`` (both by their standard deviation), ``gaussian_blur``,
            ``low_pass``, ``high_pass`` (grey; by the filter's sigma in px) or ``contrast`` (by its factor); with
            ``c_files`` the name of one of the 19 published ones.
        levels: of the corruption, whole hundredths; None: those published for images of this size. Not with
            ``c_files``, whose five severities are read.
        resolution: at which it is applied: ``native``, the image's own, or ``model``, that of the model's input.
        rounding: to 8 bits: ``truncate`` as in CIFAR-C's script, or ``round``.
        c_files: folder with published corruptions of the same images, five severities each (CIFAR-C, ImageNet-C), which
            then replace those made here; for benchmarks of which such files exist.
        base: arguments of `PerceptualCallback`.
    """

    has_published: ClassVar[bool] = False  # whether published corruptions of the images exist (`published_image`)

    def __init__(
        self,
        corruption: CorruptionName | CorruptionFile = "gaussian_noise",
        levels: Annotated[Sequence[float] | None, Range(above=0, multiple=0.01), Distinct()] = None,
        resolution: Resolution = "native",
        rounding: Rounding = "truncate",
        c_files: str | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.c_files = None if c_files is None else Path(c_files).expanduser()
        valid: Sequence[str] = tuple(CORRUPTIONS) if c_files is None else FILES
        if corruption not in valid:
            more = "" if c_files is not None else " (the others are read from published files: c_files=…)"
            text = f"corruption: {corruption} is not one of {', '.join(valid)}{more}"
            raise UserError(option_problem(self.key, "corruption", text))
        if c_files is not None and not self.has_published:
            text = "c_files: there are no published corruptions of these images; leave it out"
            raise UserError(option_problem(self.key, "c_files", text))
        if c_files is not None and levels is not None:
            text = f"levels: c_files holds severities 1 to {SEVERITIES}, all of which are read; leave levels out"
            raise UserError(option_problem(self.key, "levels", text))
        self.corruption = corruption
        self.levels_given = None if levels is None else tuple(float(level) for level in levels)
        self.resolution, self.rounding = resolution, rounding
        if self.view == "tiles" and resolution == "model" and c_files is None:
            text = "view: tiles are cut at the image's own resolution; give resolution=native, or another view"
            raise UserError(option_problem(self.key, "view", text))
        self.size = 0  # of the model's input in px, from `adapt` on

    def adapt(self, model: ModelInfo) -> str | None:
        """Note the size of the model's input, beside what is known of the classes."""
        self.size = model.image_size  # first: scores are named after the levels, which may depend on it
        return super().adapt(model)

    @property
    def generated(self) -> Corruption | None:
        """The corruption that is made here; None where published files are read."""
        return None if self.c_files is not None else CORRUPTIONS[self.corruption]

    def published_image(self, row: int, severity: int) -> Load:
        """What reads a published corruption; for benchmarks with ``has_published``.

        Args:
            row: number of the clean image.
            severity: 1 to 5.
        """
        raise NotImplementedError(f"{type(self).__name__} must define published_image()")

    @property
    def levels(self) -> Mapping[str, float]:
        """The levels by their names in keys, mildest first; severities of published files."""
        kind = self.generated
        if kind is None:
            return {str(severity): severity for severity in range(1, SEVERITIES + 1)}
        of_images = self.size if self.resolution == "model" or self.images.size is None else self.images.size
        chosen = self.levels_given or kind.levels(of_images)
        return {hundredths(level): level for level in sorted(chosen, reverse=not kind.rising)}

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """Accuracies clean and at each level, then the drops."""
        images, (labels, word) = self.images, self.labelled_levels()
        context = (images.context, images.context_source) if known.complete else ({}, "")
        count = int(np.count_nonzero(known.among(images.labels)))
        scores = noise_scores(labels, list(labels)[-1], known, count, context=context, word=word)
        return *scores, *top_scores(known, count, "_clean")

    def labelled_levels(self) -> tuple[Mapping[str, str], str]:
        """Labels of the levels by name, and what labels call the changed images."""
        kind = self.generated
        if kind is None:
            return {name: f"severity {name}" for name in self.levels}, self.corruption.replace("_", " ")
        labels = {name: f"{kind.level} {level:.2f}".replace(" 0.", " .") for name, level in self.levels.items()}
        return labels, kind.word

    def stimuli(self) -> Iterator[Stimulus]:
        """The images, clean and once for each level."""
        yield from super().stimuli()
        part = f"{self.images.part}/{self.corruption}" + ("" if self.generated else "_c")
        for name, level in self.levels.items():
            for row in self.rows():
                ident = self.changed_id(row, name)
                view = self._view_of_changed()
                # tiles where those of the clean image are; elsewhere places would choose tiles
                places = self.images.ids[row] if "tiles" in (self.view, view) else None
                yield Stimulus(ident, self.changed(row, level, ident), view, places, part)

    def items(self, features: Features) -> Items:
        """One item per image: the decisions about it clean and at each level, and the correct class."""
        rows = self.rows()
        choices = self.clean(features, CLEAN)
        for name in self.levels:
            choices[f"choice_{name}"] = self.decisions(features, [self.changed_id(row, name) for row in rows])
        items = self.table(choices)
        return Items(items.model, items.human, items.ids, None, items.conditions, limit_note(items, len(self.known)))

    def _view_of_changed(self) -> View | None:
        # at the model's resolution they are cut before they are changed; published files are as they are
        return "native" if self.resolution == "model" and self.generated is not None else self.images.view

    def changed(self, row: int, level: float, ident: str) -> Load:
        """What makes a changed image.

        Args:
            row: number of the clean image.
            level: of the corruption.
            ident: id of the changed image, which seeds it.
        """
        images = self.images
        if self.generated is None:
            return self.published_image(row, int(level))
        cut_to = None
        if self.resolution == "model":
            cut_to = (chosen_view(self.view or images.view, self.size, None), self.size)
        return partial(changed_image, images.loads[row], self.corruption, level, ident, self.rounding, cut_to)

    def changed_id(self, row: int, name: str) -> str:
        """Id of a changed image: all that makes it, so that benchmarks with other options do not share it.

        Args:
            row: number of the clean image.
            name: of the level.
        """
        if self.generated is None:
            return f"{self.images.ids[row]}/c/{self.corruption}/{name}"
        where = f"/{self.size}px" if self.resolution == "model" else ""
        ending = "/round" if self.rounding == "round" else ""
        return f"{self.images.ids[row]}/{self.corruption}/{name}{where}{ending}"


def changed_image(
    load: Load,
    corruption: str,
    level: float,
    seed: str,
    rounding: Rounding,
    cut_to: tuple[View, int] | None = None,
) -> NDArray[np.uint8]:
    """A corrupted image uint8 [H, W, 3].

    Args:
        load: makes the clean image.
        corruption, level, rounding: as for `perception.corruptions.corrupted`.
        seed: the stimulus's id.
        cut_to: view and size in px to which the image is cut before it is corrupted; None: it is not.
    """
    image = load()
    if cut_to is not None:
        view, size = cut_to
        image = cut(image, view, size, 1, seed)[0].astype(np.uint8, copy=False)
    return corrupted(image, corruption, level, seed, rounding)
