# SPDX-License-Identifier: Apache-2.0
"""The options of streamed shards, as values: below the source that checks them and the samples that follow them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.data.shard_options import ShardOptions
from clip_align.structure import key

if TYPE_CHECKING:
    from clip_align.data.streaming.remote import Transfer
    from clip_align.data.streaming.shard_fetcher import FetchSettings

GB = 10**9


@dataclass(frozen=True)
class StreamingOptions(ShardOptions):
    """``shards`` as of ``data=webdataset``, or addresses. ``epoch_samples``: of an epoch, with ``resampled`` only.

    ``cache_gb``: most 10^9 bytes of downloads kept. ``timeout_s``: without data, until an attempt is given up.
    ``downloads_at_once``: for each rank. ``held_out_fraction``: of keys that are not trained on, where
    ``held_out`` is not 0.
    """

    memory_mb: int = key(0, low=0)  # samples come again after an epoch only
    resampled: bool = False
    epoch_samples: int | None = key(None, low=1)
    cache_gb: float = key(50.0, above=0.0)
    timeout_s: float = key(60.0, above=0.0)
    retries: int = key(5, low=0)
    downloads_at_once: int = key(8, low=1, high=256)
    held_out_fraction: float = key(0.01, above=0.0, high=0.5)

    @property
    def transfer(self) -> Transfer:
        """Attempts and times of remote files."""
        from clip_align.data.streaming.remote import Transfer

        return Transfer(self.timeout_s, self.retries)

    def fetching(self, cache: Path) -> FetchSettings:
        """How shards are fetched. ``cache``: folder of indexes and downloads."""
        from clip_align.data.streaming.shard_fetcher import FetchSettings

        held_out = round(self.held_out_fraction * 2**64) if self.held_out != 0 else None
        limit = round(self.cache_gb * GB)
        return FetchSettings(str(cache), limit, self.transfer, self.downloads_at_once, held_out, self.rules)
