# SPDX-License-Identifier: Apache-2.0
"""What is known of CSIQ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import csiq
from clip_align.perception.quality_databases.anchors import Known, anchors


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """CSIQ: numbers of images, and PSNR against people."""
    known = Known(images=866, references=30, srocc=0.8087, krocc=0.5989)
    return anchors(root, "csiq", csiq.NEEDED, lambda: csiq.read(root, "human/csiq"), known)
