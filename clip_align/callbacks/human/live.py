# SPDX-License-Identifier: Apache-2.0
"""LIVE, release 2: 29 references, 5 distortion types of free strength, 779 opinions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clip_align.callbacks.base import Download
from clip_align.callbacks.rated_pairs import RatedPairs
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
    source: ClassVar[str] = "Sheikh, Sabir and Bovik, IEEE Trans. Image Process. 15 (2006) 3440-3451"
    licence: ClassVar[str] = "any purpose, free, with its notice and a citation"
    download: ClassVar[Download] = Download(
        name="LIVE (release 2)",
        what="779 distorted versions of 29 images (5 types of free strength) with DMOS",
        address="https://live.ece.utexas.edu/research/quality (databaserelease2)",
        size="1,011 BMP files, mostly of 768 x 512 px",
        terms="any purpose, free, with its notice and a citation",
        citation=source,
        needed=live.NEEDED,
    )
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {  # IQA-PyTorch, of 8-bit RGB, realigned scores
        "srocc": {"PSNR (RGB)": 0.8730},
        "krocc": {"PSNR (RGB)": 0.6801},
        "plcc": {"PSNR (RGB)": 0.8435},
    }

    def __init__(self, root: str, scores: live.Scores = "realigned", **base: Any) -> None:
        super().__init__(root, **base)
        self.take(live.read(self.folder, self.key, scores, self.references), whole=scores == "realigned")
