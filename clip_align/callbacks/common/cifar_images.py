# SPDX-License-Identifier: Apache-2.0
"""The common part of the benchmarks on CIFAR-10 and CIFAR-100: test images of the archives, clean and under noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.labelled_images import LabelledSet, Load, NoisyImages
from clip_align.callbacks.common.prompt_templates import templates_of
from clip_align.errors import Problem, UserError, option_problem
from clip_align.perception import cifar
from clip_align.perception.cifar import ArchiveError, ArchiveLayout, CifarSet
from clip_align.perception.cifar_c import check_cifar_c, cifar_c_image
from clip_align.structure import Range

ClassNames = Literal["blanks", "underscores"]
SIGMAS = "sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
OTHERS = "all 10,000 images, open_clip's docs/openclip_results.csv (89fb801)"


class CifarImages(NoisyImages):
    """The 10,000 test images of one of the two archives, clean and under Gaussian noise at CIFAR-C's five sigmas.

    c, n = zero-shot accuracy clean and noisy, by CLIP's 18 templates unless others are given. Drop = c - n; relative =
    (c - n)/c, which the paper calls normalized and which cannot exceed 1 - 1/(Kc) (note ``relative_drop_limit``);
    corrected = (c - n)/(c - 1/K), the fraction of the above-chance accuracy that is lost: the headline, at the largest
    sigma. Higher = more lost; no human data, no ceiling. Noise is the same at every event. It is added at 32 px, as in
    CIFAR-C: a model of 224 px sees it enlarged.

    Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html, no licence stated. A subclass sets ``layout``
    and ``published``, accuracies that others report.

    Args:
        root: folder with the archive, unpacked or as tar.gz.
        class_names: ``blanks`` in prompts as in CLIP's own list, or ``underscores``, the archive's own names.
        images: the first so many of the test images; None: all.
        templates: ``cifar``, CLIP's 18, another set or templates of your own (`templates_of`).
        subset: accept files whose checksum is not the author's: a subset, another copy.
        base: arguments of `NoisyImages`; its ``c_files`` is the folder of CIFAR-10-C or CIFAR-100-C.
    """

    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = f"Krizhevsky 2009, Learning multiple layers of features from tiny images; {SIGMAS}"
    licence: ClassVar[str] = "none stated; research use, cite"
    has_published: ClassVar[bool] = True
    download: ClassVar[Download]
    layout: ClassVar[ArchiveLayout]
    published: ClassVar[Mapping[str, float]]

    def __init__(
        self,
        root: str,
        class_names: ClassNames = "blanks",
        images: Annotated[int | None, Range(low=1)] = None,
        templates: str | Sequence[str] = "cifar",
        subset: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        # the packed archive is as good as the folder that the download's needed files are in
        found = cifar.find_archive(Path(root).expanduser(), self.layout)
        archive = found or self.download.folder(root, self.key)
        content = self._read(archive, subset)
        blank = " " if class_names == "blanks" else "_"
        if self.c_files is not None:
            try:
                check_cifar_c(self.c_files, self.corruption, content.labels)
            except ArchiveError as error:
                raise UserError(self._problem("c_files", str(error))) from error
        self.total = len(content.labels)
        count = self.total if images is None else min(images, self.total)
        part = f"{self.layout.name}/test"
        whole = content.original and count == self.total and templates == "cifar"
        self.use(
            LabelledSet(
                part=part,
                # the checksum: a subset's first image is another one
                ids=[f"{part}/{content.md5[:8]}/{row:05d}" for row in range(count)],
                loads=[partial(cifar_image, str(archive), self.layout.name, content.md5, row) for row in range(count)],
                labels=content.labels[:count],
                texts={name: name.replace("_", blank) for name in content.names},
                view="native",  # square: enlarged to the model's input
                size=cifar.SIDE,
                context=self.published if whole and class_names == "blanks" else {},
                context_source=OTHERS,
            ),
            templates_of(templates, self.key),
        )

    def published_image(self, row: int, severity: int) -> Load:
        """What reads an image of CIFAR-C."""
        if self.c_files is None:
            raise ValueError("no c_files are given")
        return partial(cifar_c_image, self.c_files, self.corruption, severity, row, self.total)

    def _read(self, archive: Path, subset: bool) -> CifarSet:
        try:
            content = cifar.read_cifar(archive, self.layout)
        except ArchiveError as error:
            text = f"{archive}: {error}" if str(archive) not in str(error) else str(error)
            raise UserError(self._problem("root", f"{text}; get {self.download.name} again")) from error
        if not content.original and not subset:
            text = (
                f"{archive}: {self.layout.test} holds {len(content.labels):,} images and is not the original (md5 "
                f"{content.md5}, not {self.layout.md5[0]}, or another {self.layout.meta}); give subset=true for a "
                "subset or another copy"
            )
            raise UserError(self._problem("subset", text))
        return content

    def _problem(self, option: str, text: str) -> Problem:
        return option_problem(self.key, option, text)


def cifar_image(archive: str, layout: str, md5: str, row: int) -> NDArray[np.uint8]:
    """A test image, uint8 [32, 32, 3].

    Args:
        archive: the unpacked folder or the tar.gz.
        layout: name of the archive's layout, ``cifar10`` or ``cifar100``.
        md5: of the file of images, when it was listed.
        row: number of the image.

    ValueError where the file has changed since.
    """
    content = cifar.read_cifar(Path(archive), cifar.LAYOUTS[layout])
    if content.md5 != md5:
        raise ValueError(f"{archive} has changed since the run was started")
    return np.ascontiguousarray(content.images[row])
