# SPDX-License-Identifier: Apache-2.0
"""Known answers of LIVE.

Means and ranges of the opinions were computed from public copies of the list by other code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.known_answer import KnownAnswer
from clip_align.perception.quality_databases import live
from clip_align.perception.quality_databases.verification import Known, verified

KNOWN = Known(
    key="human/live",
    download=live.LIVE,
    references=29,
    types=5,
    images=779,
    lowest=17.9024,
    highest=84.489,
    mean=44.7655,
    means={"jp2k": 45.8416, "jpeg": 46.0546, "wn": 44.1514, "gblur": 43.8505, "fastfading": 43.4845},
    psnr=live.LIVE_PSNR,
    higher_is_better=False,
)


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """LIVE, realigned scores: the lists, and PSNR over RGB as published."""
    yield from verified(root, KNOWN, live.read)
