# SPDX-License-Identifier: Apache-2.0
"""Training samples by number, from tars or from a folder with a csv."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from clip_align.data.bad_samples import DAMAGED, TOO_LARGE, UNREADABLE, BadSample
from clip_align.data.captions import Captions, captions_in, captions_of
from clip_align.data.file_reader import Files, open_file
from clip_align.data.sample_rules import ALL_SAMPLES, SampleRules
from clip_align.data.shard_index import ShardIndex
from clip_align.errors import visible

MIB = 2**20  # bytes: the unit of ``data.max_image_mb``


class SampleReader(Protocol):
    """Samples by number. Picklable."""

    def image(self, number: int) -> bytes:
        """Bytes of the image file; BadSample if it cannot be read or is too large."""

    def captions(self, number: int) -> Captions:
        """Captions, at least one; BadSample if they cannot be read."""

    def key(self, number: int) -> str:
        """Name for messages, in the form of `visible`."""


class Samples(SampleReader, Protocol):
    """Samples 0 … len - 1 in blocks that are read together (one per tar)."""

    @property
    def blocks(self) -> Sequence[int]:
        """Number of samples of each block, in order."""

    def __len__(self) -> int: ...

    def place(self, number: int) -> tuple[str, int, int | None]:
        """File with the image's bytes, the first of them, and their number (None: all of the file)."""


class TarSamples:
    """Samples of indexed tars, read by position.

    Args:
        paths: of the tars.
        indexes: of the tars, in the same order.
        max_bytes: largest image file; None: no limit.
        rules: that the indexes were made with.
    """

    def __init__(
        self,
        paths: Sequence[str],
        indexes: Sequence[ShardIndex],
        max_bytes: int | None = None,
        rules: SampleRules = ALL_SAMPLES,
    ) -> None:
        self.paths, self.indexes, self.max_bytes, self.rules = list(paths), list(indexes), max_bytes, rules
        self.blocks = [len(index) for index in indexes]
        self._starts = np.cumsum([0, *self.blocks]).tolist()  # number of each tar's first sample; ints, for bisect
        self._files = Files()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, number: int) -> bytes:
        """The image's bytes."""
        shard, local = self._place(number)
        at, size = self.indexes[shard].image[local]
        if self.max_bytes is not None and size > self.max_bytes:
            raise BadSample(TOO_LARGE)
        return self._read(shard, int(at), int(size))

    def captions(self, number: int) -> Captions:
        """The captions; the first one, where the rules say so."""
        found = self._captions(number)
        return Captions(found[:1]) if self.rules.first else found

    def _captions(self, number: int) -> Captions:
        shard, local = self._place(number)
        index, lines = self.indexes[shard], self.rules.lines
        at, size = map(int, index.text[local])
        if index.json is None:
            return captions_of(self._read(shard, at, size), bool(index.from_json[local]), lines)
        txt = self._read(shard, at, size) if size else None
        at, size = map(int, index.json[local])
        return captions_in(self.rules.weights, lines, txt, self._read(shard, at, size) if size else None)

    def key(self, number: int) -> str:
        """The key, folders in the tar included."""
        shard, local = self._place(number)
        return self.indexes[shard].key(local)

    def place(self, number: int) -> tuple[str, int, int | None]:
        """The tar, the image's first byte and its number of bytes."""
        shard, local = self._place(number)
        at, size = self.indexes[shard].image[local]
        return self.paths[shard], int(at), int(size)

    def _place(self, number: int) -> tuple[int, int]:
        shard = bisect_right(self._starts, number) - 1  # the last tar that starts at or before the sample
        return shard, number - self._starts[shard]

    def _read(self, shard: int, at: int, size: int) -> bytes:
        try:
            data = self._files.read(self.paths[shard], at, size)
        except OSError:
            raise BadSample(UNREADABLE) from None
        if len(data) < size:
            raise BadSample(DAMAGED)  # the file was truncated after it was indexed
        return data


class FolderSamples:
    """Images in separate files, captions in memory; one block.

    Args:
        root: folder that ``names`` are relative to.
        names: paths of the images.
        captions: of the images.
        sizes: of the files, in bytes.
        max_bytes: largest image file; None: no limit.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        captions: Sequence[str],
        sizes: Sequence[int],
        max_bytes: int | None = None,
    ) -> None:
        self.root, self.names, self.texts, self.sizes = root, list(names), list(captions), list(sizes)
        self.max_bytes = max_bytes
        self.blocks = [len(self.names)]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, number: int) -> bytes:
        """The image file's bytes."""
        try:
            with open_file(os.path.join(self.root, self.names[number])) as file:
                # of the open file: it may have grown since it was listed
                if self.max_bytes is not None and os.fstat(file.fileno()).st_size > self.max_bytes:
                    raise BadSample(TOO_LARGE)
                return file.read()
        except OSError:
            raise BadSample(UNREADABLE) from None

    def captions(self, number: int) -> Captions:
        """The caption of the csv's row."""
        return Captions([self.texts[number]])

    def key(self, number: int) -> str:
        """The image's path as the csv has it."""
        return visible(self.names[number])

    def place(self, number: int) -> tuple[str, int, int | None]:
        """The image's file, all of it."""
        return os.path.join(self.root, self.names[number]), 0, None
