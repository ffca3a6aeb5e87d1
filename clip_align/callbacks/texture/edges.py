# SPDX-License-Identifier: Apache-2.0
"""Shape without texture: edges of photographs, of Geirhos et al. (2019)."""

from __future__ import annotations

from typing import ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.shape_images import ShapeImages
from clip_align.perception.cue_conflict import EDGES
from clip_align.perception.cue_conflict_people import ImageSet


class Edges(ShapeImages):
    """160 edge images of the photographs that give the cue-conflict images their shapes, named among 16 classes.

    Source: Geirhos et al. 2019 (arXiv 1811.12231), stimuli/edges of their repository, CC BY 4.0; no download by us. Ten
    people are right on .8712 (single ones .61 to .96), ResNet-50 on .1812; chance 1/16. Higher = better. Error
    consistency with people, where their trials are given: between people .318, ResNet-50 .045.
    """

    version: ClassVar[int] = 1
    image_set: ClassVar[ImageSet] = "edges"
    trial_folders: ClassVar[tuple[str, ...]] = ("raw-data/edge-experiment",)
    download: ClassVar[Download | None] = EDGES
