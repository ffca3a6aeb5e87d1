# SPDX-License-Identifier: Apache-2.0
"""TID2013 itself: 25 references, 24 distortion types, 5 levels, 3,000 mean opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs, of_psnr
from clip_align.perception.quality_databases import tid

Subset = Literal["full", "noise", "actual", "simple", "exotic", "new", "color"]
# The authors' own, by numbers of types (table II of the database's readme). With them FSIMc has the correlations that
# Ponomarenko et al. 2015 print for each subset in tables 4 and 5; a test computes them.
SUBSETS: Mapping[Subset, tuple[int, ...] | None] = {
    "full": None,
    "noise": (1, 2, 3, 4, 5, 6, 7, 8, 9, 19, 21),
    "actual": (1, 3, 4, 5, 6, 8, 9, 10, 11, 19, 21),
    "simple": (1, 8, 10),
    "exotic": (12, 13, 14, 15, 16, 17, 20, 23, 24),
    "new": (18, 19, 20, 21, 22, 23, 24),
    "color": (2, 7, 10, 18, 22, 23),
}


class TID2013(RatedPairs):
    """3,000 distorted images with mean opinions of 971 observers (0 to 9, higher = better). Chance 0.

    Args:
        root: folder with ``mos_with_names.txt``, ``reference_images`` and ``distorted_images``.
        subset: of the distortion types, as the authors define it: ``full`` (all 24), ``noise``, ``actual``, ``simple``,
            ``exotic``, ``new`` or ``color``. The normalized distance is normalized over the subset.
        protocol, distance, tiles, references: see `RatedPairs`.

    Items are sorted by reference, type, level. Ceilings: opinions disturbed by their standard error reach a SROCC of
    .992, the mean opinion of the same type and level over other references is computed from the data. PSNR over RGB
    reaches .6869 (KROCC .4958), the level alone .7063.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "tid2013"
    human_data: ClassVar[str] = "mean opinion scores of 971 observers, paired comparisons beside the reference"
    download: ClassVar[Download] = tid.TID2013
    source: ClassVar[str] = download.citation
    licence: ClassVar[str] = "LicenseRef-TID2013 (education and research; no modified copies without permission)"
    published: ClassVar[Mapping[str, Mapping[str, float]]] = of_psnr(tid.TID2013_PSNR)
    limits: ClassVar[Mapping[str, Mapping[str, float]]] = {"srocc": {"rating noise": 0.992}}
    reported: ClassVar[Mapping[str, float]] = {
        "CLIP ViT-B/32, projection": 0.735,
        "CLIP ViT-B/16, projection": 0.754,
        "CLIP ViT-L/14, projection": 0.734,
        "CLIP ViT-B/32, layer 12, all tokens": 0.819,
        "CLIP ViT-B/16, layer 12, all tokens": 0.762,
        "CLIP ViT-L/14, layer 24, all tokens": 0.719,
    }
    reported_source: ClassVar[str] = (
        "OpenAI's weights at 224 px, normalized Euclidean distance: results published with the code of "
        "Hernández-Cámara et al., Re-Align workshop at ICLR 2024"
    )

    def __init__(self, root: str, subset: Subset = "full", **base: Any) -> None:
        super().__init__(root, **base)
        pairs = tid.read(self.folder, tid.LAYOUT_2013, self.key, SUBSETS[subset], self.references)
        self.take(pairs, whole=subset == "full")
