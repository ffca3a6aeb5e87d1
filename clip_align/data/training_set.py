# SPDX-License-Identifier: Apache-2.0
"""What training needs of samples, however they are found: a reader, tasks in an order, and facts about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from clip_align.data.bad_samples import BadSampleCounter
from clip_align.data.held_out import HeldOutSamples
from clip_align.data.samples import SampleReader
from clip_align.data.sampling_plan import Task
from clip_align.errors import Problem, UserError

LINES = 10  # about single shards that are shown: errors, and notes of each kind


class TrainingSet(Protocol):
    """The samples of a run and the order in which it sees them."""

    @property
    def fingerprint(self) -> str:
        """Of all that a position in the data depends on: a run resumes there only with the same one."""

    @property
    def samples(self) -> int | None:
        """Usable samples; None where that is not known yet."""

    @property
    def batches_per_epoch(self) -> int | None:
        """Batches of ``data.batch_size`` of each rank in an epoch; None where that is not known yet."""

    @property
    def reader(self) -> SampleReader:
        """Reads the samples that tasks name."""

    @property
    def held_out(self) -> HeldOutSamples:
        """The samples that are never trained on, bad ones left out."""

    @property
    def held_out_count(self) -> int:
        """How many keys are held out: as configured, else as it is derived from the samples."""

    @property
    def held_out_limit(self) -> str | None:
        """The largest hash of a key that is held out, 16 hexadecimal digits; None where none is."""

    def check(self, grad_batches: int) -> tuple[str, ...]:
        """Lines for the user before step 0. UserError if there are too few samples.

        grad_batches: contrastive batches of one optimizer step (``trainer.accumulate_grad_batches``).
        """

    def captions(self, limit: int | None) -> Iterator[str]:
        """Captions of all samples, or of ``limit`` of them; unreadable ones are skipped."""

    def counter(self) -> BadSampleCounter:
        """A new counter of bad samples."""

    def tasks(self, rank: int, start: Sequence[int], workers: int, counter: BadSampleCounter) -> Iterable[Task]:
        """The batches of ``data.batch_size`` of one rank, endless; those contrasted together follow each other.

        Args:
            rank: this one.
            start: epoch and position of the first batch, as an earlier task had it.
            workers: processes that make batches at the same time.
            counter: learns of samples that are left out while shards are found.
        """


def check_enough(samples: int, batch_size: int, ranks: int, accumulate: int, grad_batches: int) -> None:
    """UserError for fewer samples than one optimizer step takes.

    Args:
        samples: of an epoch.
        batch_size: samples of one batch on one rank.
        ranks: number of them.
        accumulate: batches that are contrasted together.
        grad_batches: such batches of one step.
    """
    batches = ranks * accumulate * grad_batches
    if samples >= batch_size * batches:
        return
    parts = f"data.batch_size={batch_size} x {ranks} ranks x accumulate={accumulate}"
    parts += f" x accumulate_grad_batches={grad_batches}" if grad_batches > 1 else ""
    most = samples // batches
    advice = f"take data.batch_size={most} or less" if most else "start fewer ranks, accumulate less"
    what = f"{samples:,} samples are fewer than one global batch of {batch_size * batches:,} ({parts})"
    raise UserError(Problem("data", f"{what}; {advice}, or take more data"))
