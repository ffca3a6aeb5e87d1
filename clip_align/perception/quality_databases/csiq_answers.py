# SPDX-License-Identifier: Apache-2.0
"""Known answers of CSIQ.

Means and ranges of the opinions were computed from public copies of the list by other code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import csiq
from clip_align.perception.quality_databases.verification import Known, verified

KNOWN = Known(
    key="human/csiq",
    download=csiq.CSIQ,
    references=30,
    types=6,
    images=866,
    lowest=0.0,
    highest=1.0,
    mean=0.3507,
    means={"level 1": 0.047, "level 2": 0.1697, "level 3": 0.356, "level 4": 0.5339, "level 5": 0.7113},
    psnr=csiq.CSIQ_PSNR,
    higher_is_better=False,
    level_alone=0.9125,
    sides=(512, 512),
)


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """CSIQ: the lists, and PSNR over RGB as published."""
    yield from verified(root, KNOWN, csiq.read)
