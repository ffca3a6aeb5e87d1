# SPDX-License-Identifier: Apache-2.0
"""Known answers of KADID-10k.

Means and ranges of the opinions were computed from public copies of the list by other code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import kadid10k
from clip_align.perception.quality_databases.verification import Known, verified

KNOWN = Known(
    key="human/kadid10k",
    download=kadid10k.KADID10K,
    references=81,
    types=25,
    images=10125,
    lowest=1.0,
    highest=4.93,
    mean=3.0326,
    means={"level 1": 4.0785, "level 2": 3.5169, "level 3": 3.0582, "level 4": 2.5028, "level 5": 2.0067},
    psnr=kadid10k.KADID10K_PSNR,
    level_alone=0.6756,
    sides=(384, 512),
)


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """KADID-10k: the lists, and PSNR over RGB as published."""
    yield from verified(root, KNOWN, kadid10k.read)
