# SPDX-License-Identifier: Apache-2.0
"""Bad samples: causes, counts, and the limit above which a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clip_align.errors import Problem, RunError, visible

NO_CAPTION, BAD_TEXT, NO_IMAGE = "no caption", "bad text", "no image"
NOT_AN_IMAGE, DAMAGED, UNREADABLE = "not an image", "damaged image", "unreadable file"
TOO_LARGE, SPARSE, DANGLING = "too large", "sparse file in the tar", "hard link to nothing in the tar"
DECODER_ERROR, TOKENIZER_ERROR, OTHER_ERROR = "decoder error", "tokenizer error", "error"  # followed by its type

FEW = 1000  # the fraction is taken over at least this many samples, or one epoch if that is shorter


class BadSample(Exception):  # noqa: N818  # named after its subject
    """One sample cannot be used.

    cause: one of this module's constants; counts are by cause. detail: about this sample, shown with its key.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(cause)
        self.cause, self.detail = cause, detail


@dataclass
class Causes:
    """Number of bad samples by cause, and the key of the first one of each cause."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, cause: str, key: str, count: int = 1) -> None:
        """Count bad samples.

        Args:
            cause: see the module's constants.
            key: name of the sample; stored in the form of `visible` if it is the first of its cause.
            count: number of samples.
        """
        self.counts[cause] = self.counts.get(cause, 0) + count
        self.first.setdefault(cause, visible(key))

    def merge(self, other: Causes) -> None:
        """Add the counts of ``other``; its first keys come after those of this object."""
        for cause, count in other.counts.items():
            self.add(cause, other.first[cause], count)

    @property
    def total(self) -> int:
        """Number of bad samples."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {cause} (first: {self.first[cause]})" for cause, n in self.counts.items())


class BadSampleCounter:
    """The running fraction of bad samples on one rank, including samples that the index left out.

    Args:
        limit: ``data.max_bad_share``, the fraction above which `count` raises.
        before: fraction of samples that the index left out.
        left_out: those samples, by cause.
        epoch: samples of one epoch on this rank; the fraction is taken over at least that many, at most `FEW`.

    Attributes:
        met: cause and key of each bad sample met in training, once, in order (the fraction counts repetitions).
        stand_ins: number of samples of other batches that replaced bad ones.
        copies: number of samples that a batch contains twice because there was no other replacement.
        filtered: samples that were left out on purpose; they are no bad ones.
        kept: samples beside which these were.
    """

    def __init__(self, limit: float, before: float, left_out: Causes, epoch: int) -> None:
        self.limit, self.before, self.least = limit, before, max(1, min(FEW, epoch))
        self.left_out, self.met = left_out, dict[tuple[str, str], None]()
        self.filtered, self.kept = Causes(), 0
        self.stand_ins = self.copies = 0
        self._seen = self._skipped = 0
        self._usable = 0

    def leave_out(self, causes: Causes, usable: int) -> None:
        """Count samples that an index left out, where shards are indexed while the run is under way.

        Args:
            causes: of those left out.
            usable: number of samples in the same shards that can be used.
        """
        self.left_out.merge(causes)
        self._usable += usable
        self.before = self.left_out.total / max(1, self.left_out.total + self._usable)

    def filter(self, causes: Causes, kept: int) -> None:
        """Note samples that are left out on purpose, and the number of those kept beside them."""
        self.filtered.merge(causes)
        self.kept += kept

    @property
    def fraction(self) -> float:
        """Fraction of bad samples so far, including those that the index left out."""
        return self.before + (1 - self.before) * self._skipped / max(self._seen, self.least)

    def count(self, delivered: int, skipped: Sequence[tuple[str, str]], due: int | None = None) -> None:
        """Count a batch; RunError with counts by cause once the fraction is above the limit.

        Args:
            delivered: number of samples in the batch.
            skipped: cause and key of each bad sample met while the batch was made.
            due: number of these that belong to the batch; the others were tried as replacements. None: all.
        """
        self._seen += delivered
        self._skipped += len(skipped) if due is None else due
        self.met.update(dict.fromkeys(skipped))
        if (self._skipped or self._usable) and self.fraction > self.limit:
            every = Causes()
            every.merge(self.left_out)
            every.merge(causes_of(self.met))
            raise RunError(Problem("data", too_many(self.fraction, self.limit, every)))


def causes_of(samples: Iterable[tuple[str, str]]) -> Causes:
    """`Causes` from cause and key of each bad sample."""
    causes = Causes()
    for cause, key in samples:
        causes.add(cause, key)
    return causes


def too_many(fraction: float, limit: float, causes: Causes) -> str:
    """The error message for a fraction above the limit.

    Args:
        fraction: of bad samples, in [0, 1].
        limit: ``data.max_bad_share``.
        causes: counts by cause.
    """
    return (
        f"{fraction:.1%} of the samples are bad, data.max_bad_share={limit:g} allows {limit:.0%}: {causes}; "
        "repair the shards or raise data.max_bad_share"
    )


def as_causes(counts: Mapping[str, tuple[int, str]]) -> Causes:
    """`Causes` from ``{cause: (count, first key)}``."""
    causes = Causes()
    for cause, (count, key) in counts.items():
        causes.add(cause, key, count)
    return causes
