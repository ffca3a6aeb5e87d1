# SPDX-License-Identifier: Apache-2.0
"""The training data of a run: checked before step 0, then an endless stream of batches of equal size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from clip_align.config import DataConfig
from clip_align.data.decode import MEGA, decoder_name
from clip_align.data.held_out import HeldOutSamples
from clip_align.data.loader import Batches, Loader, Tokenizer
from clip_align.data.progress import Notify
from clip_align.data.samples import MIB
from clip_align.data.sources.base import source
from clip_align.data.training_set import TrainingSet
from clip_align.data.vocabulary import SAMPLED, unknown_words


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
    def set(self) -> TrainingSet:
        """The samples to train on, found on first access. UserError with a line for every problem."""
        return self.data.training_set(self.seed, self.world_size, self._cache, self._progress, self.accumulate)

    @property
    def held_out(self) -> HeldOutSamples:
        """The samples that are never trained on (``data.held_out``), bad ones left out."""
        return self.set.held_out

    @property
    def held_out_limit(self) -> str | None:
        """What is known of samples held out without them: see `indexed.held_out.held_out_limit`."""
        return self.set.held_out_limit

    @property
    def held_out_count(self) -> int:
        """How many keys are held out: as configured, else as it is derived from the samples."""
        return self.set.held_out_count

    @property
    def fingerprint(self) -> str:
        """Of the data: a run resumes at its position only with the same one."""
        return self.set.fingerprint

    def check(self) -> tuple[str, ...]:
        """Lines for the user before step 0. UserError if there are too few samples."""
        return self.set.check(self.grad_batches)

    def check_words(self) -> tuple[str, ...]:
        """A line about words that the tokenizer does not know, if it can list them; UserError if most words are."""
        unknown = getattr(self.tokenizer, "unknown", None)
        line = unknown_words(self.captions(SAMPLED), unknown) if unknown is not None else None
        return (line,) if line else ()

    @property
    def samples(self) -> int | None:
        """Number of usable samples; None where it is not known yet."""
        return self.set.samples

    @property
    def batches_per_epoch(self) -> int | None:
        """Batches of ``data.batch_size`` of this rank in an epoch, the same on all ranks; None where not known yet."""
        return self.set.batches_per_epoch

    @property
    def provenance(self) -> dict[str, object]:
        """Fingerprint of the data, decoder and number of samples, for the record."""
        decoder = decoder_name(self.data.jpeg_draft)
        return {"data_fingerprint": self.fingerprint, "decoder": decoder, "samples": self.samples}

    def captions(self, limit: int | None = None) -> Iterator[str]:
        """Captions of all samples, or of ``limit`` of them, cut as in training.

        Includes all captions of a sample with several; unreadable ones are skipped.
        """
        for caption in self.set.captions(limit):
            yield caption[: self.data.max_caption_chars]

    def loader(
        self, start: Sequence[int] = (0, 0), pin_memory: bool = False, start_method: str | None = None
    ) -> Loader:
        """An endless stream of this rank's batches of ``data.batch_size``.

        Args:
            start: epoch and position of the first batch.
            pin_memory: copy batches to pinned memory, for GPUs.
            start_method: of the workers; None: the platform's default.
        """
        if self.image_size is None or self.tokenizer is None:
            raise ValueError("image_size and tokenizer must be set before the loader is made")
        data, workers = self.data, self.data.workers or 0  # null: whoever knows the rank layout replaces it
        batches = Batches(
            self.set.reader,
            self.tokenizer,
            self.image_size,
            self.seed,
            data.flip,
            data.crop_scale,
            data.memory_mb * MIB // max(1, workers),  # each worker has a cache of its own
            round(data.max_megapixels * MEGA),
            data.max_caption_chars,
            data.jpeg_draft,
        )
        tally = self.set.counter()
        tasks = self.set.tasks(self.rank, start, workers, tally)
        return Loader(batches, tasks, tally, workers, pin_memory, start_method)
