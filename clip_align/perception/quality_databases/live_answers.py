# SPDX-License-Identifier: Apache-2.0
"""What is known of LIVE, realigned scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import live
from clip_align.perception.quality_databases.anchors import Known, anchors


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """LIVE, realigned scores: numbers of images, and PSNR against people."""
    known = Known(images=779, references=29, srocc=0.873, krocc=0.6801)
    return anchors(root, "live", live.NEEDED, lambda: live.read(root, "human/live"), known)
