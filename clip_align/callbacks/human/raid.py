# SPDX-License-Identifier: Apache-2.0
"""RAID: rotation, translation, scaling and noise of 24 photographs, with human perceptual scales."""

from __future__ import annotations

from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs
from clip_align.perception.quality_databases import raid


class RAID(RatedPairs):
    """864 distorted images with perceptual scales of 210 observers (higher = more different; negated). Chance 0.

    Args:
        root: folder with ``perceptual_scales.csv``; the images lie in it or in its sub-folders.
        protocol, distance, tiles, references: see `RatedPairs`.

    24 references, 4 types (rotation, translation, scaling, Gaussian noise), 9 levels: the list's levels 2 to 10. Its
    first level is the image itself, which is not among the pairs. Scales are in units of the observers' noise. Pixel
    measures take any displacement for a large distortion, people do not: look at the table by type. Items are sorted by
    reference, type, level. No ceiling and no published baseline is known.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "raid"
    human_data: ClassVar[str] = "perceptual scales by maximum likelihood difference scaling, 210 observers"
    source: ClassVar[str] = "Daudén-Oliver et al., Scientific Data (2026), doi 10.1038/s41597-026-06581-0"
    licence: ClassVar[str] = "CC-BY-4.0"
    download: ClassVar[Download] = Download(
        name="RAID",
        what="864 distorted versions of 24 images (rotation, translation, scaling, noise) with perceptual scales",
        address="https://doi.org/10.5281/zenodo.15341729",
        size="888 PNG files and a csv",
        terms="CC BY 4.0",
        citation=source,
        needed=raid.NEEDED,
    )

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)
        self.take(raid.read(self.folder, self.key, self.references))
