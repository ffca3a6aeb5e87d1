# SPDX-License-Identifier: Apache-2.0
"""LIVE, release 2: 29 references, 5 distortion types of free strength, 779 opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.common.rated_pairs import RatedPairs, of_psnr
from clip_align.perception.quality_databases import live


class LIVE(RatedPairs):
    """779 distorted images with DMOS (higher = worse; opinions are minus it). Chance 0.

    Args:
        root: the folder ``databaserelease2``, with ``refimgs``, ``jp2k``, …, and the MATLAB files.
        scores: ``realigned`` (``dmos_realigned.mat``, as in most recent papers) or ``original`` (``dmos.mat``). Their
            rank correlation is .9575: a result has to say which.
        protocol, distance, tiles, references: see `RatedPairs`.

    Items are in the database's order, copies of references left out. Strengths are continuous: there are no levels, and
    no scores within them. No ceiling of rating noise is known. PSNR over RGB reaches .8730 (KROCC .6801) on the
    realigned scores.
    """

    version: ClassVar[int] = 1
    database: ClassVar[str] = "live"
    human_data: ClassVar[str] = "DMOS of about two dozen observers an image, single stimulus with hidden reference"
    download: ClassVar[Download] = live.LIVE
    source: ClassVar[str] = download.citation
    licence: ClassVar[str] = "any purpose, free, with its notice and a citation"
    published: ClassVar[Mapping[str, Mapping[str, float]]] = of_psnr(live.LIVE_PSNR)

    def __init__(self, root: str, scores: live.Scores = "realigned", **base: Any) -> None:
        super().__init__(root, **base)
        self.take(live.read(self.folder, self.key, scores, self.references), whole=scores == "realigned")
