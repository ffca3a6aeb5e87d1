# SPDX-License-Identifier: Apache-2.0
"""TID2008, TID2013's predecessor: the same 25 references, 17 distortion types, 4 levels, 1,700 mean opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs, of_psnr
from clip_align.perception.quality_databases import tid


class TID2008(RatedPairs):
    """1,700 distorted images with mean opinions of 838 observers (0 to 9, higher = better). Chance 0.

    Args:
        root: folder with ``mos_with_names.txt``, ``reference_images`` and ``distorted_images``.
        protocol, distance, tiles, references: see `RatedPairs`.

    Level k is TID2013's level k + 1 of the same type. Items are sorted by reference, type, level. Ceilings: opinions
    disturbed by their standard error reach a SROCC of .994, those of TID2013's observers .973. PSNR over RGB reaches
    .5245 (KROCC .3696), the level alone .5928.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "tid2008"
    human_data: ClassVar[str] = "mean opinion scores of 838 observers, paired comparisons beside the reference"
    download: ClassVar[Download] = tid.TID2008
    source: ClassVar[str] = download.citation
    licence: ClassVar[str] = "education and research, with its notice; no modified copies without permission"
    published: ClassVar[Mapping[str, Mapping[str, float]]] = of_psnr(tid.TID2008_PSNR)
    limits: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "srocc": {"rating noise": 0.994, "replication (TID2013)": 0.973},
        "krocc": {"replication (TID2013)": 0.859},
    }

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)
        self.take(tid.read(self.folder, tid.LAYOUT_2008, self.key, references=self.references))
