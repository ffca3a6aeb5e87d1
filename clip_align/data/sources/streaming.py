# SPDX-License-Identifier: Apache-2.0
"""Shards that do not fit this machine: read window by window, from local paths or remote stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clip_align.config import BATCH
from clip_align.data.sources.base import DataSource
from clip_align.data.streaming.options import StreamingOptions
from clip_align.errors import Finding, Problem, UserError

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify
    from clip_align.data.training_set import TrainingSet


@dataclass(frozen=True)
class StreamingData(StreamingOptions, DataSource):
    """See `StreamingOptions`."""

    downloads: ClassVar[bool] = True

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of missing shards, of addresses that no store has, and of epochs."""
        from clip_align.data.streaming.remote import PACKAGES, scheme_of, shown

        yield from super().combinations(batches)
        if not self.shards:
            what = "not given; type data.shards='https://host/x-{000..003}.tar'"
            yield Finding(Problem("data.shards", what, missing=True))
        for source in self.shards:
            scheme = scheme_of(source.shards)
            if not source.shards.strip():
                yield Finding(Problem("data.shards", "empty; type data.shards='https://host/x-{000..003}.tar'"))
            if (scheme and scheme not in PACKAGES) or source.shards.startswith("pipe:"):
                valid = ", ".join(f"{name}://" for name in PACKAGES)
                yield Finding(Problem("data.shards", f"{shown(source.shards)}: valid are local paths and {valid}"))
        if self.unique_keys:
            what = (
                "true compares the keys of all samples before step 0, and data=streaming knows none of them then; take "
                "data=webdataset, or remove repeated samples when the shards are written"
            )
            yield Finding(Problem("data.unique_keys", what))
        reads = ("data.resampled", "data.epoch_samples")
        if self.resampled and self.epoch_samples is None:
            what = "not given, and data.resampled=true has epochs of a number of samples; type data.epoch_samples=…"
            yield Finding(Problem("data.epoch_samples", what), reads)
        elif not self.resampled and self.epoch_samples is not None:
            what = "only with data.resampled=true; without it an epoch reads each shard once"
            yield Finding(Problem("data.epoch_samples", what), reads)
        elif self.epoch_samples is not None and self.epoch_samples < self.batch_size * batches:
            what = f"{self.epoch_samples:,} samples are fewer than one global batch of {self.batch_size * batches:,}"
            yield Finding(Problem("data.epoch_samples", f"{what}; raise it"), (*reads, *BATCH))

    def absent(self) -> Iterator[Problem]:
        """Problems of local patterns that match no tar."""
        from clip_align.data.shard_patterns import shard_paths
        from clip_align.data.streaming.remote import scheme_of

        try:
            shard_paths([source for source in self.shards if not scheme_of(source.shards)])
        except UserError as error:
            yield from error.problems

    def training_set(self, seed: int, ranks: int, cache: Path, notify: Notify, accumulate: int = 1) -> TrainingSet:
        """The shards, listed but not read."""
        from clip_align.data.streaming.shard_patterns import streaming_shards
        from clip_align.data.streaming.training_set import StreamedSet

        paths, notes = streaming_shards(self.shards, self.transfer)
        return StreamedSet(self, paths, notes, seed, ranks, cache, notify, accumulate)

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Not available: samples are found while the run is under way."""
        raise TypeError("streamed shards have no inventory")
