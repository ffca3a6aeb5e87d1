# SPDX-License-Identifier: Apache-2.0
"""What is known of TID2013."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import tid
from clip_align.perception.quality_databases.anchors import Known, anchors


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """TID2013: numbers of images, and PSNR against people."""
    known = Known(images=3000, references=25, srocc=0.6869, krocc=0.4958)
    return anchors(root, "tid2013", tid.NEEDED, lambda: tid.read(root, tid.TID2013, "human/tid2013"), known)
