# SPDX-License-Identifier: Apache-2.0
"""Sets that nothing is trained on: other backgrounds, seeds and noise than the training images.

test: every shape equally often, textures as reliable as in training.
random_texture: every shape equally often, textures at random.
cue_conflict: every ordered pair of classes A, B four times, the shape of A filled with the texture typical of B,
nothing in front. Classes follow each other in turn, so the first n images of a set are balanced too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.data.world.recipe import Recipe
from clip_align.data.world.render import block_size, render
from clip_align.data.world.scenes import HELD_OUT_SIZES, draw_scenes

LABELS = ("shape", "texture", "background", "first")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images uint8 [N, S, S, 3] sRGB, and labels int8 [N]: numbers into SHAPES, TEXTURES, BACKGROUNDS, COLOURS."""

    images: NDArray[np.uint8]
    shape: NDArray[np.int8]
    texture: NDArray[np.int8]
    background: NDArray[np.int8]
    colour: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.shape)


def held_out(folder: Path, part: str) -> HeldOut:
    """The set ``part`` (test, random_texture, cue_conflict) in `RenderedWorld.held_out`; images memory-mapped."""
    labels = np.load(folder / f"{part}-labels.npy")
    return HeldOut(_images(folder, part), *labels.T)


def image(folder: Path, part: str, index: int) -> NDArray[np.uint8]:
    """One image of a set, uint8 [S, S, 3] sRGB.

    Args:
        folder: `RenderedWorld.held_out`.
        part: test, random_texture or cue_conflict.
        index: number of the image in the set, from 0.

    FileNotFoundError where the set is not there.
    """
    return np.array(_images(folder, part)[index])  # a copy: the memory map is read-only


@lru_cache(maxsize=8)
def _images(folder: Path, part: str) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.load(folder / f"{part}.npy", mmap_mode="r")
    return images


def render_held_out(recipe: Recipe, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Images [N, S, S, 3] of a set and its labels [N, 4], columns as LABELS."""
    count, block = HELD_OUT_SIZES[part], block_size(recipe)
    images, labels = [], []
    for start in range(0, count, block):
        scenes = draw_scenes(recipe, part, range(start, min(start + block, count)))
        images.append(render(recipe, scenes, held_out=True))
        labels.append(np.stack([getattr(scenes, name) for name in LABELS], axis=1).astype(np.int8))
    return np.concatenate(images), np.concatenate(labels)


def save_held_out(folder: Path, part: str, images: NDArray[np.uint8], labels: NDArray[np.int8]) -> None:
    """Write a set where `held_out` finds it.

    Args:
        folder: an existing folder.
        part: test, random_texture or cue_conflict.
        images: uint8 [N, S, S, 3].
        labels: int8 [N, 4], columns as LABELS.

    OSError, with its number, where the disk is full.
    """
    for name, array in ((part, images), (f"{part}-labels", labels)):
        content = io.BytesIO()  # numpy's own writing to a full disk raises an error without a number
        np.save(content, array)
        (folder / f"{name}.npy").write_bytes(content.getvalue())
