# SPDX-License-Identifier: Apache-2.0
"""WebDataset shards as img2dataset writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.data.shard_options import ShardOptions
from clip_align.data.sources.base import DataSource
from clip_align.errors import Finding, Problem, UserError

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify


@dataclass(frozen=True)
class ShardData(ShardOptions, DataSource):
    """See `ShardOptions`."""

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of missing, empty and remote shards."""
        yield from super().combinations(batches)
        if not self.shards:
            yield Finding(Problem("data.shards", "not given; type data.shards='/a/x-{000..003}.tar'", missing=True))
        for source in self.shards:
            if not source.shards.strip():
                yield Finding(Problem("data.shards", "empty; type data.shards='/a/x-{000..003}.tar'"))
            if source.shards.startswith("pipe:") or "://" in source.shards:
                what = f"{source.shards} is not a local path; download the shards first"
                yield Finding(Problem("data.shards", what))

    def absent(self) -> Iterator[Problem]:
        """Problems of patterns that match no tar."""
        from clip_align.data.shard_patterns import shard_paths

        try:
            shard_paths(self.shards)
        except UserError as error:
            yield from error.problems

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find the samples of all tars, from their indexes."""
        from clip_align.data.indexed.inventory import tars
        from clip_align.data.indexed.unique_keys import with_unique_keys
        from clip_align.data.shard_patterns import shard_paths

        paths, notes = shard_paths(self.shards)
        found = tars(paths, self.shards, cache, notify, self.max_image_mb, notes, self.rules)
        return with_unique_keys(found) if self.unique_keys else found
