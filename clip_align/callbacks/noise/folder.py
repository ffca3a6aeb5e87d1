# SPDX-License-Identifier: Apache-2.0
"""Accuracy lost to noise on the user's labelled images; ImageNet-style folders among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from clip_align.callbacks.common.labelled_images import Load, NoisyImages, Resolution
from clip_align.callbacks.common.labelled_sources import LabelledSource, labelled_set, names_from, tail
from clip_align.callbacks.common.prompt_templates import templates_of
from clip_align.errors import UserError, option_problem
from clip_align.perception.image_files import read_rgb
from clip_align.structure import Range


class Folder(NoisyImages):
    """The labelled images of ``zero_shot/folder``, clean and under Gaussian noise at the published sigmas.

    Accuracies and drops as in ``noise/cifar100``: the headline is the corrected drop (c - n)/(c - 1/K) at the largest
    sigma. Noise is added at the model's resolution, after the image was cut to it: at 224 px the order of
    ImageNet-C's script but for the JPEG coding that it ends with. With ``c_files`` ImageNet-C's own files replace them:
    ``<corruption>/<severity 1-5>/<class>/<file>``, for every image in ``root``. No human data.

    Args:
        root, csv, shards, class_field, names, templates, images_per_class, image_field: as in ``zero_shot/folder``.
        resolution: ``model``, or ``native``: noise is then added at the image's own size.
        base: further arguments of `NoisyImages`.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the images named in the options; sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
    licence: ClassVar[str] = "the user's own"
    has_published: ClassVar[bool] = True

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
        resolution: Resolution = "model",
        **base: Any,
    ) -> None:
        super().__init__(resolution=resolution, **base)
        source = LabelledSource(root, csv, shards, class_field, names_from(names), images_per_class, image_field)
        self.use(labelled_set(source, self.key), templates_of(templates, self.key))
        self.top = None if root is None or csv is not None else Path(root).expanduser()
        if self.c_files is not None:
            self._check_files(self.c_files)

    def published_image(self, row: int, severity: int) -> Load:
        """What reads an image of ImageNet-C."""
        if self.c_files is None or self.top is None:
            raise ValueError("no c_files are given")
        return partial(read_rgb, self.c_files / self.corruption / str(severity) / self._below_top(row))

    def _check_files(self, c_files: Path) -> None:
        if self.top is None:
            text = "c_files: needs root=…, the folder of the clean images, and no csv or shards"
            raise UserError(option_problem(self.key, "c_files", text))
        for severity in self.levels:
            folder = c_files / self.corruption / severity
            missing = [p for p in map(self._below_top, range(len(self.images.ids))) if not (folder / p).is_file()]
            if missing:
                more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
                text = f"c_files: no such file {folder / missing[0]}{more}; expected one for each image in {self.top}"
                raise UserError(option_problem(self.key, "c_files", text))

    def _below_top(self, row: int) -> str:
        """Path of an image below ``root``: its id without what these begin with."""
        return self.images.ids[row].removeprefix(f"{tail(self.top or Path())}/")
