# SPDX-License-Identifier: Apache-2.0
"""Samples that are never trained on: a hash of the key decides which, so that every rank and resumed run agrees.

All samples with one key are held out together. Which keys are, depends on nothing but the keys: not on the seed, the
order of shards, or the number of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clip_align.data.bad_samples import Causes

__all__ = ["FEWEST_BY_DEFAULT", "MOST_BY_DEFAULT", "HeldOutSample", "HeldOutSamples"]

MOST_BY_DEFAULT = 1_000  # keys, where no number of them is given
FEWEST_BY_DEFAULT = 10  # below, scores on them would say nothing


@dataclass(frozen=True)
class HeldOutSample:
    """A sample that is not trained on: its key, where its image's bytes are, and its captions.

    path: of the file. at: the first byte. size: number of bytes; None: all of the file.
    """

    key: str
    path: str
    at: int
    size: int | None
    captions: tuple[str, ...]


@dataclass(frozen=True)
class HeldOutSamples:
    """The usable samples that are not trained on, in the order of their keys' hashes.

    bad: those that are not trained on either, and cannot be shown.
    """

    samples: tuple[HeldOutSample, ...]
    bad: Causes = field(default_factory=Causes)

    def __len__(self) -> int:
        return len(self.samples)
