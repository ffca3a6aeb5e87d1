# SPDX-License-Identifier: Apache-2.0
"""Saliency on your own data: a folder of images, with a folder of fixation maps, of fixations, or both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.common.fixation_maps import FixationMaps
from clip_align.errors import UserError, option_problem
from clip_align.metrics.saliency import Outside
from clip_align.perception.density_maps import images_with_maps
from clip_align.structure import Existing, Range


class FixationFolder(FixationMaps):
    """The model's saliency maps against fixation maps and fixations in folders, as SALICON and CAT2000 have them.

    Scores and baselines are those of ``osie``. CC, SIM and KL compare densities: the given fixation maps, or else the
    fixations, blurred. NSS, AUC-Judd and information gain need the fixations themselves, and are null without them.

    A map and a file of fixations are called like their image, up to the ending, in sub-folders of the same names.
    Images that have neither are left out, and counted in the note ``images_without_fixations``. SALICON:
    ``images=images/val fixation_maps=maps/val fixations=fixations/val``; CAT2000: ``Stimuli``, ``FIXATIONMAPS`` and
    ``FIXATIONLOCS`` of ``trainSet``.

    Args:
        images: folder of the images, with or without sub-folders.
        fixation_maps: folder of grey maps of any size, brighter where people looked more; None: from ``fixations``.
        fixations: folder of fixations: ``.mat`` with SALICON's ``gaze`` (pixels counted from 1; viewers known) or one
            matrix of the image's size, or images of that size; what is not 0 is a fixation. No JPEG, which changes
            single pixels. None: there are none.
        sigma_px: standard deviation in pixels of the images with which fixations are blurred, customary is a degree of
            visual angle; needed where no ``fixation_maps`` are given, else for the baseline of one viewer alone.
        outside: what that blur assumes beyond the border: ``nearest`` or ``zero``.
        base: arguments of `FixationMaps` (``maps``, ``auc``, ``scored_px``) and `PerceptualCallback`.

    UserError, before step 0, where neither folder is given, files do not belong together or cannot be read.
    """

    family: ClassVar[str] = "saliency"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "fixation maps, fixations or both from the folders named in the options"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the folders named in the options"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        images: Annotated[str, Existing("folder")],
        fixation_maps: Annotated[str | None, Existing("folder")] = None,
        fixations: Annotated[str | None, Existing("folder")] = None,
        sigma_px: Annotated[float | None, Range(above=0)] = None,
        outside: Outside = "nearest",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if fixation_maps is None and fixations is None:
            what = "neither fixation_maps nor fixations is given: name a folder of either, or of both"
            raise UserError(option_problem(self.key, "fixation_maps", what))
        if fixation_maps is None and sigma_px is None:
            what = (
                "sigma_px is needed to blur fixations where no fixation_maps are given; a degree, in pixels, is usual"
            )
            raise UserError(option_problem(self.key, "sigma_px", what))
        # absolute: stimulus ids must not depend on the working directory
        maps, points = (
            None if given is None else Path(given).expanduser().absolute() for given in (fixation_maps, fixations)
        )
        found, self.without = images_with_maps(Path(images).expanduser().absolute(), maps, points, self.key)
        why = "only fixation maps are given, and this needs the fixations: fixations=<folder>"
        self.look_at(found, sigma_px, outside, "fixations", why if points is None else None)

    def items(self, features: Features) -> Items:
        """Those of `FixationMaps`, with the number of images that were left out."""
        items = super().items(features)
        notes = {**items.notes, "images_without_fixations": float(self.without)}
        return replace(items, notes=notes)
