# SPDX-License-Identifier: Apache-2.0
"""What is known of TID2008."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import tid
from clip_align.perception.quality_databases.anchors import Known, anchors


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """TID2008: numbers of images, and PSNR against people."""
    known = Known(images=1700, references=25, srocc=0.5245, krocc=0.3696)
    return anchors(root, "tid2008", tid.NEEDED, lambda: tid.read(root, tid.TID2008, "human/tid2008"), known)
