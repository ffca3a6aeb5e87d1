# SPDX-License-Identifier: Apache-2.0
"""What a data source is: its options as a dataclass, and how its samples are found.

A source is one module here and one yaml of its name in ``conf/data``. The configuration is checked before torch is
imported, so these modules import nothing heavy but inside their methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.config import DataConfig

if TYPE_CHECKING:
    from clip_align.data.inventory import Found
    from clip_align.data.progress import Notify


@dataclass(frozen=True)
class DataSource(DataConfig, ABC):
    """Training data of one kind. Fields are the keys under ``data`` that only this kind has."""

    @abstractmethod
    def find(self, cache: Path, notify: Notify) -> Found:
        """All samples that can be used, found without decoding an image.

        Args:
            cache: folder for what is worth keeping, such as an index.
            notify: takes lines and progress now and then.

        Raises:
            UserError: a problem for everything that must be repaired before step 0.
        """

    def described(self, cache: Path) -> tuple[str, int] | None:
        """For a dry run: what there is, and the samples of an epoch; None where only ``find`` can tell."""
        return None

    def place(self, shards: int) -> str:
        """Where the samples are, in a word or two."""
        return f"{shards:,} {'shard' if shards == 1 else 'shards'}"

    @property
    def world(self) -> object | None:
        """Settings of the embedded world whose held-out images belong to these data; None: the default world's."""
        return None


def source(data: DataConfig) -> DataSource:
    """The configured data as what they are."""
    if not isinstance(data, DataSource):
        raise TypeError(f"{type(data).__name__} is no DataSource")
    return data
