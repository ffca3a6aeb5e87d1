# SPDX-License-Identifier: Apache-2.0
"""KADID-10k: 81 references, 25 distortion types, 5 levels, 10,125 mean opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs, of_psnr
from clip_align.perception.quality_databases import kadid10k


class KADID10k(RatedPairs):
    """10,125 distorted images with the mean of 30 ratings each (1 to 5; "dmos" is higher for better ones). Chance 0.

    Args:
        root: folder with ``dmos.csv`` and ``images``.
        exclude_identical: leave out the four types and levels whose parameter changes nothing (324 pairs): their
            distances are all 0, and tied. By default they are kept, as published, and counted.
        protocol, distance, tiles, references: see `RatedPairs`.

    Items are sorted by reference, type, level. Levels of mean shift and contrast change go from one direction of change
    through none to the other. Ceilings: opinions disturbed by their standard error reach a SROCC of .991. PSNR over RGB
    reaches .6757 (KROCC .4876), the level alone .6756.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "kadid10k"
    human_data: ClassVar[str] = "means of 30 crowd ratings in five categories of degradation"
    download: ClassVar[Download] = kadid10k.KADID10K
    source: ClassVar[str] = download.citation
    licence: ClassVar[str] = "none found; photographs from Pixabay"
    published: ClassVar[Mapping[str, Mapping[str, float]]] = of_psnr(kadid10k.KADID10K_PSNR)
    limits: ClassVar[Mapping[str, Mapping[str, float]]] = {"srocc": {"rating noise": 0.991}}

    def __init__(self, root: str, exclude_identical: bool = False, **base: Any) -> None:
        super().__init__(root, **base)
        without = kadid10k.IDENTICAL if exclude_identical else ()
        self.take(kadid10k.read(self.folder, self.key, without, self.references), whole=not exclude_identical)
