# SPDX-License-Identifier: Apache-2.0
"""The embedded world: rendered once, then read like any other shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clip_align.config import BATCH, Source, backwards
from clip_align.data.sources.base import DataSource
from clip_align.errors import Finding, Problem
from clip_align.structure import key

if TYPE_CHECKING:
    from clip_align.data.indexed.inventory import Inventory
    from clip_align.data.progress import Notify


@dataclass(frozen=True)
class WorldData(DataSource):
    """``size`` is the side of an image in px; ``scale`` the object's half-width as a fraction of half the image."""

    workers: int | None = key(0, low=0)  # its images are small, and kept in memory
    images: int = key(20_000, low=16)
    size: int = key(32, low=16, high=512)
    texture_reliability: float = key(0.75, low=0.0, high=1.0)
    sensor_noise: float = key(0.02, low=0.0, below=0.04)  # the smallest sigma that noise callbacks test
    occlusion: float = key(0.15, low=0.0, high=1.0)
    scale: tuple[float, float] = key((0.65, 0.95), above=0.0, high=1.0)
    texture_words: float = key(0.5, low=0.0, high=1.0)
    colour_words: float = key(0.5, low=0.0, high=1.0)
    background_words: float = key(0.2, low=0.0, high=1.0)
    image_seed: int = key(0, low=0)
    noise_option: ClassVar[str | None] = "sensor_noise"

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of reversed ranges, and of a global batch larger than the world."""
        yield from super().combinations(batches)
        yield from backwards("data.scale", self.scale)
        batch = self.batch_size * batches
        if batch > self.images:
            most = self.images // batches
            advice = f"at most {most} here" if most else "start fewer ranks, or accumulate less"
            what = f"a global batch of {batch} is larger than the data, {self.images} images; {advice}"
            yield Finding(Problem("data.batch_size", what), ("data.images", *BATCH))

    def find(self, cache: Path, notify: Notify) -> Inventory:
        """Find the samples, after rendering the world if it is not in the cache."""
        from clip_align.data.indexed.inventory import tars
        from clip_align.data.world.shards import ensure_world

        rendered = ensure_world(self, cache, notify)
        paths = [[str(path) for path in rendered.shards]]
        return tars(paths, [Source(str(rendered.folder))], cache, notify, self.max_image_mb)

    def described(self, cache: Path) -> tuple[str, int] | None:
        """A description and the number of images, without rendering."""
        from clip_align.data.world.shards import rendered

        state = "rendered" if rendered(self, cache) else "to be rendered once into the cache"
        return f"the embedded world, {self.images:,} images of {self.size} px, {state}", self.images

    @property
    def world(self) -> object | None:
        """These settings: held-out images belong to the same world."""
        return self
