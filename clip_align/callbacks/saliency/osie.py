# SPDX-License-Identifier: Apache-2.0
"""Saliency on OSIE: where 15 people looked at 700 photographs of scenes with several objects."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.fixation_maps import FixationMaps
from clip_align.metrics.saliency import Outside
from clip_align.perception.fixations import osie
from clip_align.structure import Range


class OSIE(FixationMaps):
    """The model's saliency maps against the fixations of 15 viewers on 700 photographs.

    Scores, means over the images: ``cc`` and ``nss`` (chance 0), ``auc_judd`` (chance .5), ``sim``, ``kl`` (lower =
    better), ``information_gain`` (bits per fixation over the centre bias). Baselines of the same images are recorded
    with them: centre bias, uniform map, and one viewer against the others, which is no ceiling: many viewers predict
    better than one.

    Source: Xu, Jiang, Wang, Kankanhalli and Zhao, Journal of Vision 14(1):28, 2014; MIT licence. Unpack the repository
    of the address in ``download`` to ``root``.

    Args:
        root: folder of the unpacked repository, with ``data/stimuli`` and ``data/eye/fixations.mat``.
        sigma_px: standard deviation in pixels of the photographs, 800 x 600, with which fixations are blurred; 24 is
            the authors'.
        outside: what the blur assumes beyond the border: ``zero``, as the authors, or ``nearest``.
        base: arguments of `FixationMaps` (``maps``, ``auc``, ``scored_px``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "saliency"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "fixations of 15 viewers"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Xu et al., Journal of Vision 14(1):28, 2014"
    licence: ClassVar[str] = "MIT (of the repository; the origin of the photographs is not stated there)"
    download: ClassVar[Download] = Download(
        name="OSIE",
        what="700 photographs and where 15 people looked at them",
        address="https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels",
        size="size not stated",
        terms="MIT",
        citation="Xu, Jiang, Wang, Kankanhalli, Zhao: Predicting human gaze beyond pixels. J. Vision 14(1):28, 2014",
        needed=("data/stimuli/*.jpg", "data/eye/fixations.mat"),
    )

    def __init__(
        self,
        root: str,
        sigma_px: Annotated[float, Range(above=0)] = 24.0,
        outside: Outside = "zero",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key).absolute()  # ids must not depend on the working directory
        self.look_at(osie(folder, self.key), sigma_px, outside, "root")
