# SPDX-License-Identifier: Apache-2.0
"""Shards that do not fit this machine: read window by window, from local paths or remote stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clip_align.config import Source
from clip_align.data.sources.base import DataSource
from clip_align.errors import Finding, Problem, UserError
from clip_align.structure import key

if TYPE_CHECKING:
    from clip_align.data.inventory import Inventory
    from clip_align.data.progress import Notify
    from clip_align.data.remote import Transfer
    from clip_align.data.shard_fetcher import FetchSettings
    from clip_align.data.training_set import TrainingSet

GB = 10**9


@dataclass(frozen=True)
class StreamingData(DataSource):
    """``shards`` as of ``data=webdataset``, or addresses. ``epoch_samples``: of an epoch, with ``resampled`` only.

    ``cache_gb``: most 10^9 bytes of downloads kept. ``timeout_s``: without data, until an attempt is given up.
    ``downloads_at_once``: for each rank. ``held_out_fraction``: of keys that are never trained on, where any are.
    """

    memory_mb: int = key(0, low=0)  # samples come again after an epoch only
    shards: tuple[Source, ...] = ()
    resampled: bool = False
    epoch_samples: int | None = key(None, low=1)
    cache_gb: float = key(50.0, above=0.0)
    timeout_s: float = key(60.0, above=0.0)
    retries: int = key(5, low=0)
    downloads_at_once: int = key(8, low=1, high=256)
    held_out_fraction: float = key(0.01, above=0.0, high=0.5)
    downloads: ClassVar[bool] = True

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of missing shards, of addresses that no store has, and of epochs."""
        from clip_align.data.remote import PACKAGES, scheme_of, shown

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
        reads = ("data.resampled", "data.epoch_samples")
        if self.resampled and self.epoch_samples is None:
            what = "not given, and data.resampled=true has epochs of a number of samples; type data.epoch_samples=…"
            yield Finding(Problem("data.epoch_samples", what), reads)
        elif not self.resampled and self.epoch_samples is not None:
            what = "only with data.resampled=true; without it an epoch reads each shard once"
            yield Finding(Problem("data.epoch_samples", what), reads)
        elif self.epoch_samples is not None and self.epoch_samples < self.batch_size * batches:
            what = f"{self.epoch_samples:,} samples are fewer than one global batch of {self.batch_size * batches:,}"
            yield Finding(Problem("data.epoch_samples", f"{what}; raise it"), (*reads, "data.batch_size"))

    def absent(self) -> Iterator[Problem]:
        """Problems of local patterns that match no tar."""
        from clip_align.data.remote import scheme_of
        from clip_align.data.shard_patterns import shard_paths

        try:
            shard_paths([source for source in self.shards if not scheme_of(source.shards)])
        except UserError as error:
            yield from error.problems

    def training_set(self, seed: int, ranks: int, cache: Path, notify: Notify) -> TrainingSet:
        """The shards, listed but not read."""
        from clip_align.data.streamed_set import StreamedSet
        from clip_align.data.streaming_shards import streaming_shards

        paths, notes = streaming_shards(self.shards, self.transfer)
        return StreamedSet(self, paths, notes, seed, ranks, cache, notify)

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Not available: samples are found while the run goes on."""
        raise TypeError("streamed shards have no inventory")

    @property
    def transfer(self) -> Transfer:
        """Attempts and times of remote files."""
        from clip_align.data.remote import Transfer

        return Transfer(self.timeout_s, self.retries)

    def fetching(self, cache: Path) -> FetchSettings:
        """How shards are fetched. ``cache``: folder of indexes and downloads."""
        from clip_align.data.shard_fetcher import FetchSettings

        held_out = round(self.held_out_fraction * 2**64) if self.held_out else None
        return FetchSettings(str(cache), round(self.cache_gb * GB), self.transfer, self.downloads_at_once, held_out)
