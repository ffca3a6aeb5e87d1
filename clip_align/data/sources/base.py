# SPDX-License-Identifier: Apache-2.0
"""The base class of data sources: options as a dataclass, and a method that finds the samples.

A source is one module here and one yaml of its name in ``conf/data``. The configuration is checked before torch is
imported, so these modules import heavy ones inside their methods only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clip_align.config import DataConfig

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify
    from clip_align.data.training_set import TrainingSet


@dataclass(frozen=True)
class DataSource(DataConfig, ABC):
    """Training data of one kind. Fields are the keys under ``data`` that only this kind has."""

    downloads: ClassVar[bool] = False  # whether reading samples may take a download, which a dry run does not make

    def training_set(self, seed: int, ranks: int, cache: Path, notify: Notify, accumulate: int = 1) -> TrainingSet:
        """The samples and their order; those of `find`, unless a kind has a way of its own.

        Args:
            seed: of the order.
            ranks: number of them.
            cache: folder for indexes, downloads and rendered images.
            notify: takes lines and progress now and then.
            accumulate: batches that are contrasted together (``trainer.accumulate``).
        """
        from clip_align.data.indexed.training_set import IndexedSet

        return IndexedSet(self, self.place, lambda: self.find(cache, notify), seed, ranks, notify, accumulate)

    @abstractmethod
    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find all usable samples, without decoding images.

        Args:
            cache: folder for indexes and rendered images.
            notify: takes lines and progress now and then.

        Raises:
            UserError: with all problems.
        """

    def described(self, cache: Path) -> tuple[str, int] | None:
        """For a dry run: a description and the samples of an epoch; None if only ``find`` can determine them."""
        return None

    def place(self, shards: int) -> str:
        """Where the samples are, as a short text; ``shards``: number of blocks."""
        return f"{shards:,} {'shard' if shards == 1 else 'shards'}"

    @property
    def world(self) -> object | None:
        """Settings of the embedded world whose held-out images belong to these data; None: the default world's."""
        return None


def source(data: DataConfig) -> DataSource:
    """``data`` as a `DataSource`; TypeError if it is none."""
    if not isinstance(data, DataSource):
        raise TypeError(f"{type(data).__name__} is no DataSource")
    return data
