# SPDX-License-Identifier: Apache-2.0
"""Bad samples: why one cannot be used, how many there were, and when there were too many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clip_align.errors import RunError, visible

NO_CAPTION, BAD_TEXT, NO_IMAGE = "no caption", "bad text", "no image"
NOT_AN_IMAGE, DAMAGED, UNREADABLE = "not an image", "damaged image", "unreadable file"
TOO_LARGE, SPARSE, DANGLING = "too large", "sparse file in the tar", "hard link to nothing in the tar"
DECODER_ERROR, TOKENIZER_ERROR, OTHER_ERROR = "decoder error", "tokenizer error", "error"  # (its type) follows

FEW = 1000  # a fraction is not judged before this many samples, or one epoch where that is shorter


class BadSample(Exception):  # noqa: N818  # the name of what it is about
    """One sample cannot be used.

    cause: one of this module's constants, what is counted. detail: about this sample, shown beside its key.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(cause)
        self.cause, self.detail = cause, detail


@dataclass
class Causes:
    """Number of bad samples by cause, and the key of the first of each."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, cause: str, key: str, count: int = 1) -> None:
        """Count a cause; ``key`` is kept, as `visible` shows it, when it is the first of its cause."""
        self.counts[cause] = self.counts.get(cause, 0) + count
        self.first.setdefault(cause, visible(key))

    def merge(self, other: Causes) -> None:
        """Add what another has counted after this one."""
        for cause, count in other.counts.items():
            self.add(cause, other.first[cause], count)

    @property
    def total(self) -> int:
        """Number of bad samples."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {cause} (first: {self.first[cause]})" for cause, n in self.counts.items())


class BadSampleCounter:
    """The running fraction of bad samples on one rank, with what the index had already left out.

    left_out: those that never entered the plan; ``before`` their share. epoch: number of samples of one epoch
    on this rank: the fraction is judged over at least that many, or `FEW`. ``met``: cause and key of what was met
    since, each once, in order; the fraction counts a sample as often as it was due. ``stand_ins``: samples of other
    batches of the epoch that took a bad one's place. ``copies``: samples that a batch holds twice, where there was no
    other.
    """

    def __init__(self, limit: float, before: float, left_out: Causes, epoch: int) -> None:
        self.limit, self.before, self.least = limit, before, max(1, min(FEW, epoch))
        self.left_out, self.met = left_out, dict[tuple[str, str], None]()
        self.stand_ins = self.copies = 0
        self._seen = self._skipped = 0

    @property
    def fraction(self) -> float:
        """Share of bad samples so far, those left out before the plan included."""
        return self.before + (1 - self.before) * self._skipped / max(self._seen, self.least)

    def count(self, delivered: int, skipped: Sequence[tuple[str, str]], due: int | None = None) -> None:
        """Take note of a batch; RunError with counts by cause once the fraction is above the limit.

        Args:
            delivered: samples in it.
            skipped: cause and key of each bad sample met while it was made.
            due: how many of these belonged to it, the others only having been tried in their place; None = all.
        """
        self._seen += delivered
        self._skipped += len(skipped) if due is None else due
        self.met.update(dict.fromkeys(skipped))
        if self._skipped and self.fraction > self.limit:
            every = Causes()
            every.merge(self.left_out)
            every.merge(causes_of(self.met))
            raise RunError(f"data: {too_many(self.fraction, self.limit, every)}")


def causes_of(samples: Iterable[tuple[str, str]]) -> Causes:
    """From cause and key of each bad sample."""
    causes = Causes()
    for cause, key in samples:
        causes.add(cause, key)
    return causes


def too_many(fraction: float, limit: float, causes: Causes) -> str:
    """What to say when more than the configured share is bad."""
    return (
        f"{fraction:.1%} of the samples are bad, data.max_bad_share={limit:g} allows {limit:.0%}: {causes}; "
        "repair the shards or raise data.max_bad_share"
    )


def as_causes(counts: Mapping[str, tuple[int, str]]) -> Causes:
    """From ``{cause: (count, first key)}``."""
    causes = Causes()
    for cause, (count, key) in counts.items():
        causes.add(cause, key, count)
    return causes
