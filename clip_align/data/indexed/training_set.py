# SPDX-License-Identifier: Apache-2.0
"""Training samples that are all known before step 0, by number, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clip_align.config import DataConfig
from clip_align.data.bad_samples import BadSample, BadSampleCounter
from clip_align.data.decode import MEGA
from clip_align.data.held_out import HeldOutSamples
from clip_align.data.indexed.held_out import held_out_by_default, held_out_limit, held_out_samples, without
from clip_align.data.indexed.inventory import Inventory, enough
from clip_align.data.progress import Notify
from clip_align.data.samples import SampleReader
from clip_align.data.sampling_plan import Cursor, SamplingPlan, Task, Tasks
from clip_align.data.training_set import check_enough


class IndexedSet:
    """A `TrainingSet` of samples that an inventory lists.

    Args:
        data: the configured source.
        place: from a number of blocks to a text: where the samples are.
        find: finds all usable samples; called once.
        seed: of the order.
        ranks: number of them.
        notify: takes lines for the user.
        accumulate: batches that are contrasted together: the plan deals them as one.
    """

    def __init__(
        self,
        data: DataConfig,
        place: Callable[[int], str],
        find: Callable[[], Inventory],
        seed: int,
        ranks: int,
        notify: Notify,
        accumulate: int = 1,
    ) -> None:
        self._place = place
        self.data, self.seed, self.ranks, self.accumulate = data, seed, ranks, accumulate
        self._find, self._notify = find, notify

    @property
    def found(self) -> Inventory:
        """The samples to train on, found on first access. UserError with a line for every problem."""
        return self._divided[0]

    @cached_property
    def whole(self) -> Inventory:
        """All usable samples, those held out among them."""
        return enough(self._find(), self.data.max_bad_share)

    @cached_property
    def _divided(self) -> tuple[Inventory, NDArray[np.int64]]:
        return without(self.whole, self.held_out_count, by_default=self.data.held_out is None)

    @cached_property
    def plan(self) -> SamplingPlan:
        """The assignment of samples to batches."""
        return SamplingPlan(
            tuple(self.found.samples.blocks),
            self.found.sources,
            self.found.rates,
            self.seed,
            self.data.window_shards,
            self.data.batch_size * self.accumulate,
            self.ranks,
        )

    @property
    def fingerprint(self) -> str:
        """Of names, sizes and numbers of samples."""
        return self.found.fingerprint

    @property
    def samples(self) -> int:
        """Number of usable samples."""
        return len(self.found.samples)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of ``data.batch_size`` of each rank in an epoch."""
        return self.plan.batches_per_epoch * self.accumulate

    @property
    def reader(self) -> SampleReader:
        """The samples by number."""
        return self.found.samples

    @cached_property
    def held_out(self) -> HeldOutSamples:
        """The samples that are never trained on, bad ones left out."""
        data, numbers = self.data, self._divided[1].tolist()
        max_pixels = round(data.max_megapixels * MEGA)
        found = held_out_samples(self.whole.samples, numbers, data.max_caption_chars, max_pixels)
        if found.bad.total:
            self._notify(f"data: {found.bad.total:,} of the samples held out cannot be shown: {found.bad}")
        return found

    @cached_property
    def held_out_count(self) -> int:
        """How many keys are held out: as configured, else by the number of samples."""
        configured = self.data.held_out
        return held_out_by_default(self.whole) if configured is None else configured

    @cached_property
    def held_out_limit(self) -> str | None:
        """See `held_out.held_out_limit`."""
        return held_out_limit(self.whole.samples, self._divided[1].tolist())

    def check(self, grad_batches: int) -> tuple[str, ...]:
        """Lines for the user before step 0. UserError if there are too few samples."""
        check_enough(sum(self.plan.per_source), self.data.batch_size, self.ranks, self.accumulate, grad_batches)
        return (*self.found.notes, *self._mix(), self._summary())

    def captions(self, limit: int | None) -> Iterator[str]:
        """Captions of all samples, or of ``limit`` evenly spaced ones."""
        count = self.samples if limit is None else min(limit, self.samples)
        # evenly spaced over all shards, as captions of one shard may be alike
        for number in np.linspace(0, self.samples, count, endpoint=False).astype(int).tolist():
            try:
                yield from self.found.samples.captions(number)
            except BadSample:  # counted once training meets it
                continue

    def counter(self) -> BadSampleCounter:
        """A new counter, which knows what the index left out."""
        found = self.found
        epoch = self.batches_per_epoch * self.data.batch_size
        counter = BadSampleCounter(self.data.max_bad_share, found.bad_fraction, found.bad, epoch)
        counter.filter(found.filtered, len(self.whole.samples))
        return counter

    def tasks(self, rank: int, start: Sequence[int], workers: int, counter: BadSampleCounter) -> Iterable[Task]:
        """The batches of one rank, endless."""
        return Tasks(self.plan, rank, Cursor(*start), self.accumulate)

    def _summary(self) -> str:
        plan, blocks = self.plan, len(self.found.samples.blocks)
        left = f", {plan.remainder:,} samples left over" if plan.remainder else ""
        return (
            f"data: {self.samples:,} samples in {self._place(blocks)}; "
            f"an epoch is {plan.batches_per_epoch:,} batches of {plan.global_batch:,}{left}"
        )

    def _mix(self) -> list[str]:
        """A line about the sources if their rates differ."""
        if set(self.found.rates) == {1.0}:
            return []
        total = sum(self.plan.per_source)
        parts = ", ".join(f"{n:,} ({n / total:.0%}) of source {i}" for i, n in enumerate(self.plan.per_source, 1))
        return [f"data: an epoch takes {parts}"]
