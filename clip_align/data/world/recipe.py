# SPDX-License-Identifier: Apache-2.0
"""What decides how the embedded world looks: the parameters, and a fingerprint of them and of a version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1  # raised whenever the same parameters give another image or caption; a test holds their digest
SHARD_IMAGES = 1000
SUPERSAMPLING = 2  # pixels are rendered this much finer along each axis, then averaged
SETS = {"train": 0, "test": 1, "random_texture": 2, "cue_conflict": 3}  # part of every image's seed
CANVASES = {"train": 10, "held_out": 11}  # part of every background's seed: held-out sets have their own


@dataclass(frozen=True)
class Recipe:
    """Parameters of the world, under the names that users type after ``data.``; defaults as there.

    images: number of training images, 0 for the held-out sets alone. size: their side in px.
    texture_reliability: fraction of training and test images whose object wears its class's typical texture.
    sensor_noise: largest standard deviation of the noise, pixel values in [0, 1]; drawn uniformly from 0.
    occlusion: fraction of images in which something hides a part of the object.
    scale: smallest and largest half-width of the object, as a fraction of half the image.
    texture_words, colour_words, background_words: probability that a caption names it.
    image_seed: seed of all images and captions; a run's own seed does not change the world.
    """

    images: int = 20_000
    size: int = 32
    texture_reliability: float = 0.75
    sensor_noise: float = 0.02
    occlusion: float = 0.15
    scale: tuple[float, float] = (0.65, 0.95)
    texture_words: float = 0.5
    colour_words: float = 0.5
    background_words: float = 0.2
    image_seed: int = 0

    @classmethod
    def of(cls, settings: object) -> Recipe:
        """The recipe among the attributes of ``settings`` (the data part of a run's configuration)."""
        values = {field.name: getattr(settings, field.name) for field in fields(cls)}
        return cls(**{**values, "scale": tuple(values["scale"])})  # hashable, for caches

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The way back from `to_json`."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "scale": tuple(values["scale"])})  # JSON has lists only

    def to_json(self) -> str:
        """All parameters as one line."""
        return json.dumps(asdict(self), sort_keys=True)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with a parameter or with `VERSION`."""
        return hashlib.sha256(f"{VERSION} {self.to_json()}".encode()).hexdigest()[:16]

    @property
    def shards(self) -> int:
        """Number of shards of the training images."""
        return -(-self.images // SHARD_IMAGES)

    def whole(self, folder: Path) -> bool:
        """Whether all of this world is in ``folder``: cleaners of caches take single files."""
        names = ["world.json", *(f"{number:05d}.tar" for number in range(self.shards))]
        return all((folder / name).is_file() for name in names)

    def generator(self, *numbers: int) -> np.random.Generator:
        """Random numbers that depend on the world's seed and ``numbers`` (set and image, …) alone."""
        return np.random.default_rng((self.image_seed, *numbers))
