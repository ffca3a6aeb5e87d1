# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy on Tiny ImageNet's validation images, clean and under noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.labelled_images import LabelledSet, NoisyImages
from clip_align.callbacks.common.prompt_templates import templates_of
from clip_align.errors import UserError, option_problem
from clip_align.perception import tiny_imagenet
from clip_align.perception.image_files import read_rgb
from clip_align.perception.tiny_imagenet import ClassNames, TinyImageNetError
from clip_align.structure import Range

SIGMAS = (0.04, 0.08, 0.12, 0.15, 0.18)  # of make_tinyimagenet_c.py in hendrycks/robustness, at 64 px


class TinyImageNet(NoisyImages):
    """Tiny ImageNet's 10,000 validation images of 200 classes, clean and under Gaussian noise at five sigmas.

    Accuracies and drops as in ``noise/cifar100``: the headline is the corrected drop (c - n)/(c - 1/K) at the largest
    sigma; higher = more lost; chance of an accuracy 1/200 (of the known classes); no human data, no ceiling. Noise is
    added at 64 px, at the sigmas of Tiny-ImageNet-C's script (Hendrycks & Dietterich 2019). ``root`` holds the unpacked
    ``tiny-imagenet-200``; source and terms: ``download``.

    Args:
        root: folder with ``tiny-imagenet-200``, or that folder.
        class_names: ``clip``: ImageNet's names as CLIP's authors cleaned them, or ``words``: the first of words.txt.
        templates: ``cifar`` (CLIP's 18 for small photographs), another set or templates of your own (`templates_of`).
        images_per_class: the first so many of each class; None: all, 50 in the original.
        base: arguments of `NoisyImages`.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = (
        "Le & Yang 2015, Tiny ImageNet visual recognition challenge; "
        "sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
    )
    licence: ClassVar[str] = "ImageNet's terms: non-commercial research"
    download: ClassVar[Download] = Download(
        name="Tiny ImageNet",
        what="120,000 photographs of 64 px in 200 classes; the 10,000 validation images are read",
        address=tiny_imagenet.ADDRESS,
        size="0.25 GB",
        terms="ImageNet's terms: non-commercial research and teaching",
        citation="Le & Yang 2015, Tiny ImageNet visual recognition challenge, Stanford CS231N",
        needed=("val/val_annotations.txt", "val/images", "words.txt"),
        places=(tiny_imagenet.FOLDER,),
    )

    def __init__(
        self,
        root: str,
        class_names: ClassNames = "clip",
        templates: str | Sequence[str] = "cifar",
        images_per_class: Annotated[int | None, Range(low=1)] = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key)
        try:
            listed = tiny_imagenet.validation_images(folder)
            texts = tiny_imagenet.class_texts(folder, {label for _, label in listed}, class_names)
        except TinyImageNetError as error:
            raise UserError(option_problem(self.key, "root", str(error))) from None
        if len(texts) < 2:
            what = f"{folder / 'val'} has images of {len(texts)} class; at least two are needed"
            raise UserError(option_problem(self.key, "root", what))
        seen: Counter[str] = Counter()
        images = []
        for path, label in listed:
            seen[label] += 1
            if images_per_class is None or seen[label] <= images_per_class:
                images.append((path, label))
        numbers = {label: number for number, label in enumerate(texts)}
        part = "tiny_imagenet/val"
        self.use(
            LabelledSet(
                part=part,
                ids=[f"{part}/{path.rpartition('/')[2]}" for path, _ in images],
                loads=[partial(read_rgb, folder / path) for path, _ in images],
                labels=np.array([numbers[label] for _, label in images], np.int64),
                texts=texts,
                view="native",  # square: enlarged to the model's input, or reduced to it
                size=tiny_imagenet.SIDE,
            ),
            templates_of(templates, self.key),
        )

    @property
    def levels(self) -> Mapping[str, float]:
        """Those of Tiny-ImageNet-C, where Gaussian noise is added at 64 px and no others are given."""
        given = self.levels_given is not None or self.resolution == "model" or self.corruption != "gaussian_noise"
        return super().levels if given else {f"{round(100 * sigma):02d}": sigma for sigma in SIGMAS}
