# SPDX-License-Identifier: Apache-2.0
"""Known answers of TID2008.

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
    key="human/tid2008",
    download=tid.TID2008,
    references=25,
    types=17,
    images=1700,
    lowest=0.0,
    highest=7.7143,
    mean=4.4796,
    means={"level 1": 5.4847, "level 2": 4.8478, "level 3": 4.2461, "level 4": 3.3398},
    psnr=tid.TID2008_PSNR,
    level_alone=0.5928,
    sides=(384, 512),
)


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """TID2008: the lists, and PSNR over RGB as published."""
    yield from verified(root, KNOWN, _read)


def _read(folder: Path, key: str) -> Sequence[RatedPair]:
    return tid.read(folder, tid.LAYOUT_2008, key)
