# SPDX-License-Identifier: Apache-2.0
"""Known answers of TID2013.

Means and ranges of the opinions were computed from public copies of the list by other code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import tid
from clip_align.perception.quality_databases.verification import Known, verified
from clip_align.perception.rated_pairs import RatedPair

KNOWN = Known(
    key="human/tid2013",
    download=tid.TID2013,
    references=25,
    types=24,
    images=3000,
    lowest=0.24242,
    highest=7.21429,
    mean=4.4747,
    means={"level 1": 5.5154, "level 2": 5.2209, "level 3": 4.5763, "level 4": 3.9687, "level 5": 3.092},
    psnr=tid.TID2013_PSNR,
    level_alone=0.7063,
    sides=(384, 512),
)


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """TID2013: the lists, and PSNR over RGB as published."""
    yield from verified(root, KNOWN, _read)


def _read(folder: Path, key: str) -> Sequence[RatedPair]:
    return tid.read(folder, tid.LAYOUT_2013, key)
