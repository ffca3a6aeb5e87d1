# SPDX-License-Identifier: Apache-2.0
"""Shape without texture: filled silhouettes of objects, of Geirhos et al. (2019)."""

from __future__ import annotations

from typing import ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.shape_images import ShapeImages
from clip_align.perception.cue_conflict import SILHOUETTES
from clip_align.perception.cue_conflict_people import ImageSet


class Silhouettes(ShapeImages):
    """160 filled silhouettes of the objects that give the cue-conflict images their shapes, named among 16 classes.

    Source: Geirhos et al. 2019 (arXiv 1811.12231), stimuli/filled-silhouettes of their repository, CC BY 4.0; no
    download by us. Ten people are right on .7531 (single ones .64 to .85), ResNet-50 on .5438; chance 1/16. Higher =
    better. Error consistency with people, where their trials are given: between people .476, ResNet-50 .446.
    """

    version: ClassVar[int] = 1
    image_set: ClassVar[ImageSet] = "silhouettes"
    trial_folders: ClassVar[tuple[str, ...]] = ("raw-data/silhouette-filled-experiment",)
    download: ClassVar[Download | None] = SILHOUETTES
