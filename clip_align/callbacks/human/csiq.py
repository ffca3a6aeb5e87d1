# SPDX-License-Identifier: Apache-2.0
"""CSIQ: 30 references, 6 distortion types, 3 to 5 levels, 866 opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs, of_psnr
from clip_align.perception.quality_databases import csiq


class CSIQ(RatedPairs):
    """866 distorted images with DMOS of 35 observers (0 to 1, higher = worse; opinions are minus it). Chance 0.

    Args:
        root: folder with ``csiq.DMOS.xlsx``, ``src_imgs`` and ``dst_imgs``.
        protocol, distance, tiles, references: see `RatedPairs`.

    Items are sorted by reference, type, level. No ceiling of rating noise is known. PSNR over RGB reaches .8087 (KROCC
    .5989), the level alone .9125.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "csiq"
    human_data: ClassVar[str] = "DMOS of 35 observers, from displacements on four monitors (5,000 ratings)"
    download: ClassVar[Download] = csiq.CSIQ
    source: ClassVar[str] = download.citation
    licence: ClassVar[str] = "none found"
    published: ClassVar[Mapping[str, Mapping[str, float]]] = of_psnr(csiq.CSIQ_PSNR)

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)
        self.take(csiq.read(self.folder, self.key, self.references))
