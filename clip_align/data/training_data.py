# SPDX-License-Identifier: Apache-2.0
"""The training data of a run: checked before step 0, then an endless stream of batches of equal size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.config import DataConfig
from clip_align.data.bad_samples import BadSample, BadSampleCounter
from clip_align.data.decode import MEGA, decoder_name
from clip_align.data.held_out import HeldOutSamples, held_out_by_default, held_out_limit, held_out_samples, without
from clip_align.data.inventory import Inventory, enough
from clip_align.data.loader import Batches, Loader, Tokenizer
from clip_align.data.progress import Notify
from clip_align.data.sampling_plan import Cursor, SamplingPlan, Tasks
from clip_align.data.sources.base import source
from clip_align.data.vocabulary import SAMPLED, unknown_words
from clip_align.errors import Problem, UserError

MIB = 2**20


class TrainingData:
    """Samples, plan and loader of one rank.

    Args:
        data: the configured source.
        image_size, tokenizer: the model's; may be set later (the tiny model's tokenizer is made from ``captions()``),
            before ``loader()``.
        seed: of order, crops, flips and captions.
        rank, world_size: this rank, and the number of ranks.
        cache: folder for indexes and rendered images.
        accumulate: batches that are contrasted together (``trainer.accumulate``): the plan deals them as one batch.
        progress: receives lines and progress while shards are indexed or the world is rendered.
        grad_batches: such batches per optimizer step (``trainer.accumulate_grad_batches``).
    """

    def __init__(
        self,
        data: DataConfig,
        image_size: int | None,
        tokenizer: Tokenizer | None,
        seed: int,
        rank: int,
        world_size: int,
        cache: Path,
        accumulate: int = 1,
        progress: Notify = lambda line: None,
        grad_batches: int = 1,
    ) -> None:
        self.data = source(data)
        self.image_size, self.tokenizer = image_size, tokenizer
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.accumulate, self.grad_batches = accumulate, grad_batches
        self._cache, self._progress = cache, progress

    @cached_property
    def found(self) -> Inventory:
        """The samples to train on, found on first access. UserError with a line for every problem."""
        return self._divided[0]

    @cached_property
    def held_out(self) -> HeldOutSamples:
        """The samples that are never trained on (``data.held_out``), bad ones left out."""
        data, numbers = self.data, self._divided[1].tolist()
        max_pixels = round(data.max_megapixels * MEGA)
        found = held_out_samples(self._whole.samples, numbers, data.max_caption_chars, max_pixels)
        if found.bad.total:
            self._progress(f"data: {found.bad.total:,} of the samples held out cannot be shown: {found.bad}")
        return found

    @cached_property
    def held_out_limit(self) -> str | None:
        """What is known of samples held out without them: see `held_out.held_out_limit`."""
        return held_out_limit(self._whole.samples, self._divided[1].tolist())

    @cached_property
    def held_out_count(self) -> int:
        """How many keys are held out: as configured, else by the number of samples."""
        configured = self.data.held_out
        return held_out_by_default(self._whole) if configured is None else configured

    @cached_property
    def _whole(self) -> Inventory:
        return enough(self.data.find(self._cache, self._progress), self.data.max_bad_share)

    @cached_property
    def _divided(self) -> tuple[Inventory, NDArray[np.int64]]:
        return without(self._whole, self.held_out_count, by_default=self.data.held_out is None)

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
            self.world_size,
        )

    def check(self) -> tuple[str, ...]:
        """Lines for the user before step 0. UserError if there are too few samples."""
        per_epoch, step = sum(self.plan.per_source), self.plan.global_batch * self.grad_batches
        if per_epoch < step:
            parts = f"data.batch_size={self.data.batch_size} x {self.world_size} ranks x accumulate={self.accumulate}"
            parts += f" x accumulate_grad_batches={self.grad_batches}" if self.grad_batches > 1 else ""
            most = per_epoch // (step // self.data.batch_size)  # divided by all other factors
            advice = f"take data.batch_size={most} or less" if most else "start fewer ranks, accumulate less"
            raise UserError(
                Problem(
                    "data",
                    f"{per_epoch:,} samples are fewer than one global batch of {step:,} ({parts}); "
                    f"{advice}, or take more data",
                )
            )
        return (*self.found.notes, *self._mix(), self._summary())

    def check_words(self) -> tuple[str, ...]:
        """A line about words that the tokenizer does not know, if it can list them; UserError if most words are."""
        unknown = getattr(self.tokenizer, "unknown", None)
        line = unknown_words(self.captions(SAMPLED), unknown) if unknown is not None else None
        return (line,) if line else ()

    @property
    def samples(self) -> int:
        """Number of usable samples."""
        return len(self.found.samples)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of ``data.batch_size`` of this rank in an epoch, the same on all ranks."""
        return self.plan.batches_per_epoch * self.accumulate

    @property
    def provenance(self) -> dict[str, object]:
        """Fingerprint of the data, decoder and number of samples, for the record."""
        return {"data_fingerprint": self.found.fingerprint, "decoder": decoder_name(), "samples": self.samples}

    def captions(self, limit: int | None = None) -> Iterator[str]:
        """Captions of all samples, or of ``limit`` evenly spaced ones, cut as in training.

        Includes all captions of a sample with several; unreadable ones are skipped.
        """
        count = self.samples if limit is None else min(limit, self.samples)
        # evenly spaced over all shards, as captions of one shard may be alike
        for number in np.linspace(0, self.samples, count, endpoint=False).astype(int).tolist():
            try:
                captions = self.found.samples.captions(number)
            except BadSample:  # counted once training meets it
                continue
            for caption in captions:
                yield caption[: self.data.max_caption_chars]

    def loader(self, start: Cursor = Cursor(), pin_memory: bool = False, start_method: str | None = None) -> Loader:  # noqa: B008
        """An endless stream of this rank's batches of ``data.batch_size``.

        Args:
            start: position of the first batch.
            pin_memory: copy batches to pinned memory, for GPUs.
            start_method: of the workers; None: the platform's default.
        """
        if self.image_size is None or self.tokenizer is None:
            raise ValueError("image_size and tokenizer must be set before the loader is made")
        data, workers = self.data, self.data.workers or 0  # null: whoever knows the rank layout replaces it
        batches = Batches(
            self.found.samples,
            self.tokenizer,
            self.image_size,
            self.seed,
            data.flip,
            data.crop_scale,
            data.memory_mb * MIB // max(1, workers),  # each worker has a cache of its own
            round(data.max_megapixels * MEGA),
            data.max_caption_chars,
        )
        tally = BadSampleCounter(
            data.max_bad_share, self.found.bad_fraction, self.found.bad, self.batches_per_epoch * data.batch_size
        )
        tasks = Tasks(self.plan, self.rank, Cursor(*start), self.accumulate)
        return Loader(batches, tasks, tally, workers, pin_memory, start_method)

    def _summary(self) -> str:
        plan, blocks = self.plan, len(self.found.samples.blocks)
        left = f", {plan.remainder:,} samples left over" if plan.remainder else ""
        return (
            f"data: {self.samples:,} samples in {self.data.place(blocks)}; "
            f"an epoch is {plan.batches_per_epoch:,} batches of {plan.global_batch:,}{left}"
        )

    def _mix(self) -> list[str]:
        """A line about the sources if their rates differ."""
        if set(self.found.rates) == {1.0}:
            return []
        total = sum(self.plan.per_source)
        parts = ", ".join(f"{n:,} ({n / total:.0%}) of source {i}" for i, n in enumerate(self.plan.per_source, 1))
        return [f"data: an epoch takes {parts}"]
