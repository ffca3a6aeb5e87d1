# SPDX-License-Identifier: Apache-2.0
"""Saliency on MIT1003: where 15 people looked at 1,003 photographs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.fixation_maps import FixationMaps
from clip_align.metrics.saliency import Outside
from clip_align.perception.fixations import mit1003
from clip_align.structure import Range


class MIT1003(FixationMaps):
    """The model's saliency maps against the fixations of 15 viewers on 1,003 photographs, seen for 3 seconds each.

    Scores and baselines are those of ``osie``. Fixations are made from the eye tracker's samples by the rule of the
    authors' code; the first one, on the cross in the middle, and those outside the image are left out. Coordinates are
    taken as they are, as pysaliency does: 1 is not subtracted from them. All later fixations count; the authors' own
    maps of density are of the first six of each viewer.

    Source: Judd, Ehinger, Durand and Torralba, ICCV 2009; no licence is stated. Unpack ``ALLSTIMULI.zip`` and
    ``DATA.zip`` from the address in ``download`` to ``root``.

    Args:
        root: folder with ``ALLSTIMULI`` and ``DATA``.
        sigma_px: standard deviation in pixels of the photographs, 1,024 on their longest side, with which fixations are
            blurred; 35 is about a degree of visual angle, the convention of the MIT/Tuebingen benchmark.
        outside: what the blur assumes beyond the border: ``nearest``, as that benchmark, or ``zero``.
        base: arguments of `FixationMaps` (``maps``, ``auc``, ``scored_px``) and `PerceptualCallback`.
    """

    family: ClassVar[str] = "saliency"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "fixations of 15 viewers"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "Judd et al., ICCV 2009"
    licence: ClassVar[str] = "none stated"
    context: ClassVar[Mapping[str, float]] = {
        "CLIP ViT-B/16 (LAION-2B), rollout to block 4": 0.212,
        "CLIP ViT-B/16 (LAION-2B), rollout to block 12": 0.184,
    }
    context_source: ClassVar[str] = (
        "CC printed in jmjaenlorites/vit-human-alignment-framework; maps and fixations cropped like the image"
    )
    download: ClassVar[Download] = Download(
        name="MIT1003",
        what="1,003 photographs and where 15 people looked at them (ALLSTIMULI.zip and DATA.zip)",
        address="http://people.csail.mit.edu/tjudd/WherePeopleLook/",
        size="size not stated",
        terms="none stated",
        citation="Judd, Ehinger, Durand, Torralba: Learning to predict where humans look. ICCV 2009",
        needed=("ALLSTIMULI/*.jpeg", "DATA/*/*.mat"),
    )

    def __init__(
        self,
        root: str,
        sigma_px: Annotated[float, Range(above=0)] = 35.0,
        outside: Outside = "nearest",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        folder = self.download.folder(root, self.key).absolute()  # ids must not depend on the working directory
        self.look_at(mit1003(folder, self.key), sigma_px, outside, "root")
