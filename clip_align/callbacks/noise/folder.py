# SPDX-License-Identifier: Apache-2.0
"""Accuracy lost to noise on the user's labelled images; ImageNet-style folders among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from clip_align.callbacks.labelled_images import NoisyImages, Resolution
from clip_align.callbacks.labelled_sources import LabelledSource, labelled_set, names_from
from clip_align.callbacks.prompt_templates import templates_of
from clip_align.structure import Range


class Folder(NoisyImages):
    """The labelled images of ``zero_shot/folder``, clean and under Gaussian noise at the published sigmas.

    Accuracies and drops as in ``noise/cifar100``: the headline is the corrected drop (c - n)/(c - 1/K) at the largest
    sigma. Noise is added at the model's resolution, after the image was cut to it: at 224 px the order of
    ImageNet-C's script but for the JPEG coding that it ends with. No human data.

    Args:
        root, csv, shards, class_field, names, templates, images_per_class: as in ``zero_shot/folder``.
        resolution: ``model``, or ``native``: noise is then added at the image's own size.
        base: further arguments of `NoisyImages`.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the images named in the options; sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        root: str | None = None,
        csv: str | None = None,
        shards: str | None = None,
        class_field: str = "class",
        names: Mapping[str, str] | Sequence[str] = (),
        templates: str | Sequence[str] = "imagenet",
        images_per_class: Annotated[int | None, Range(low=1)] = None,
        resolution: Resolution = "model",
        **base: Any,
    ) -> None:
        super().__init__(resolution=resolution, **base)
        source = LabelledSource(root, csv, shards, class_field, names_from(names), images_per_class)
        self.use(labelled_set(source, self.key), templates_of(templates, self.key))
