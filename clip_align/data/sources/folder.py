# SPDX-License-Identifier: Apache-2.0
"""Images in a folder, and a csv of their captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.data.sources.base import DataSource
from clip_align.errors import Finding, Problem

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify


@dataclass(frozen=True)
class FolderData(DataSource):
    """``csv``: its path. Image paths are relative to ``root``, None = the csv's folder."""

    csv: str = ""
    root: str | None = None
    image_column: str = "image"
    caption_column: str = "caption"

    def combinations(self, batches: int) -> Iterator[Finding]:
        """A problem if no csv is given."""
        yield from super().combinations(batches)
        if not self.csv:
            yield Finding(Problem("data.csv", "not given; type data.csv=/path/captions.csv", missing=True))

    def absent(self) -> Iterator[Problem]:
        """A problem if the csv does not exist."""
        if not Path(self.csv).expanduser().is_file():
            yield Problem("data.csv", f"no such file: {self.csv}; name a csv with data.csv=…")

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find the rows with a caption and an image."""
        from clip_align.data.indexed.folder import folder_samples
        from clip_align.data.indexed.inventory import in_folder

        return in_folder(*folder_samples(self, notify))

    def place(self, shards: int) -> str:
        """Where the samples are."""
        return "a folder"
