# SPDX-License-Identifier: Apache-2.0
"""What CLIP models reach on ImageNet, zero-shot, after so many samples of DataComp-1B: a sanity line beside a curve.

Each value is the end of a cosine run of that length (LAION-AI/scaling-laws-for-comparison): a run in the middle of a
longer schedule is lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ACCURACY", "SAMPLES", "SOURCE", "context"]

SAMPLES: Final = (1_280_000, 3_000_000, 6_400_000, 12_800_000, 30_000_000, 64_000_000, 128_000_000)
ACCURACY: Final[Mapping[str, tuple[float, ...]]] = {
    "ViT-B/32": (0.014, 0.032, 0.065, 0.112, 0.216, 0.312, 0.404),
    "ViT-S/32": (0.013, 0.030, 0.060, 0.102, 0.187, 0.270, 0.354),
}
SOURCE: Final = "ends of cosine runs on DataComp-1B (LAION-AI/scaling-laws-for-comparison)"


def context() -> dict[str, float]:
    """The values of ViT-B/32 by a name that has the number of samples."""
    named = (f"ViT-B/32 after {samples / 1e6:g} million samples" for samples in SAMPLES)
    return dict(zip(named, ACCURACY["ViT-B/32"], strict=True))
