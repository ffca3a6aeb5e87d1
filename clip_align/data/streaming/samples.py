# SPDX-License-Identifier: Apache-2.0
"""Samples of shards that were fetched, by number (`plan.sample_number`), for any process of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clip_align.data.bad_samples import UNREADABLE, BadSample
from clip_align.data.captions import Captions
from clip_align.data.samples import TarSamples
from clip_align.data.shard_index import stored_index
from clip_align.data.streaming.plan import in_shard
from clip_align.data.streaming.shard_fetcher import FetchSettings
from clip_align.errors import UserError


class StreamedSamples:
    """A `SampleReader`. Picklable, without what it has read.

    Args:
        urls: paths or addresses of the shards.
        settings: of their fetching: where they are.
        max_bytes: largest image file.
        kept: shards whose indexes a process keeps in memory, about half a MB each for 10,000 samples.
    """

    def __init__(self, urls: Sequence[str], settings: FetchSettings, max_bytes: int, kept: int) -> None:
        self.urls, self.settings, self.max_bytes, self.kept = urls, settings, max_bytes, kept
        self._shards: dict[int, TarSamples] = {}

    def image(self, number: int) -> bytes:
        """The image's bytes."""
        shard, local = in_shard(number)
        return self.shard(shard).image(local)

    def captions(self, number: int) -> Captions:
        """The captions."""
        shard, local = in_shard(number)
        return self.shard(shard).captions(local)

    def key(self, number: int) -> str:
        """The key, folders in the tar included."""
        shard, local = in_shard(number)
        try:
            return self.shard(shard).key(local)
        except BadSample:
            return f"sample {local} of {self.urls[shard]}"

    def shard(self, number: int) -> TarSamples:
        """All samples of a shard; BadSample if it cannot be read."""
        found = self._shards.pop(number, None)
        if found is None:
            try:
                path, cached = self.settings.files_of(self.urls[number])
                rules = self.settings.rules
                found = TarSamples([path], [stored_index(path, cached, rules)], self.max_bytes, rules)
            except (OSError, UserError):  # somebody has removed it
                raise BadSample(UNREADABLE) from None
        self._shards[number] = found  # at the end of the dictionary: last used, last dropped
        while len(self._shards) > self.kept:
            del self._shards[next(iter(self._shards))]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}
