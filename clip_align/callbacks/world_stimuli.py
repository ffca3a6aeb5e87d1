# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the embedded world share: its held-out images as stimuli, prompts, decisions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.data.world.captions import class_prompts
from clip_align.data.world.held_out import HeldOut, held_out, image
from clip_align.data.world.nearest_neighbour import nearest_neighbour_accuracy
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.shards import ensure_held_out
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.stimulus import Stimulus
from clip_align.metrics.accuracy import choices
from clip_align.runs.folder import user_cache

CLASSES = len(SHAPES)
CHANCE = 1 / CLASSES
LICENCE = "Apache-2.0 (rendered by this package)"
SOURCE = "clip-align's embedded world: procedural shapes, textures and backgrounds"


def world_folder(world: str | Path | None, key: str) -> Path:
    """The folder of the world's held-out sets; None: those of the default world, made in the user's cache."""
    if world is None:
        return ensure_held_out(user_cache(None)[0], progress=partial(print, file=sys.stderr, flush=True))
    folder = Path(world).expanduser()
    if not (folder / "test.npy").is_file():
        raise UserError(f"{key}: no held-out sets of the world in {folder}; leave world out, and they are made")
    return folder


def world_set(folder: Path, part: str, key: str) -> HeldOut:
    """One held-out set; UserError where it cannot be read."""
    try:
        return held_out(folder, part)
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot read the set {part} in {folder} ({error}); delete the folder") from error


def stimulus_id(part: str, index: int) -> str:
    """Name of one image, the same in every benchmark that shows it."""
    return f"world/{part}/{index:04d}"


def stimulus(folder: Path, part: str, index: int) -> Stimulus:
    """One held-out image, seen as it was rendered (enlarged bicubically for larger models), kept with its set."""
    load = partial(image, folder, part, index)
    return Stimulus(stimulus_id(part, index), load, "native", part=f"world/{part}")


def prompts() -> Mapping[str, Sequence[str]]:
    """The prompts of the 16 shapes, in the words of the world's captions."""
    return class_prompts(SHAPES)


def baselines(folder: Path) -> Mapping[str, float]:
    """Accuracy of the nearest training image in pixels, where the world's training images were made too."""
    accuracy = nearest_neighbour_accuracy(folder)
    return {} if accuracy is None else {"nearest neighbour in pixels": accuracy}


def decisions(features: Features, ids: Sequence[str]) -> NDArray[np.signedinteger]:
    """Zero-shot decisions [N] among the 16 shapes; -1 for none."""
    return choices(features[ids][:, 0], features.prompts)
