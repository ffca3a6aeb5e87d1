# SPDX-License-Identifier: Apache-2.0
"""What is known of KADID-10k."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import kadid10k
from clip_align.perception.quality_databases.anchors import Known, anchors


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """KADID-10k: numbers of images, and PSNR against people."""
    known = Known(images=10125, references=81, srocc=0.6757, krocc=0.4876)
    return anchors(root, "kadid10k", kadid10k.NEEDED, lambda: kadid10k.read(root, "human/kadid10k"), known)
