# SPDX-License-Identifier: Apache-2.0
"""The common part of the embedded world's benchmarks: held-out images, classes by prompts, decisions."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Stimulus
from clip_align.callbacks.common.prompted_benchmark import PromptedBenchmark
from clip_align.data.world.captions import PROMPTS, with_article
from clip_align.data.world.held_out import HeldOut, held_out, image
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.shards import ensure_held_out
from clip_align.errors import UserError, option_problem
from clip_align.runs.folder import user_cache
from clip_align.structure import Holds

CLASSES = len(SHAPES)
TEXTS = {name: with_article(name) for name in SHAPES}  # as in the world's captions


class WorldBenchmark(PromptedBenchmark):
    """Decisions about held-out images of the world among its 16 shapes, by prompts averaged over templates.

    A subclass defines the sets it reads (``parts``) and its scores (`scores_for`); `rows` are the images of classes
    whose words the model's tokenizer knows.

    Args:
        world: folder of the held-out sets; None: the default world's, rendered in the user's cache.
        base: arguments of `PromptedBenchmark`.
    """

    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "rendered shapes, not photographs"
    source: ClassVar[str] = "clip-align's embedded world: procedural shapes, textures and backgrounds"
    licence: ClassVar[str] = "Apache-2.0 (rendered by this package)"
    parts: ClassVar[tuple[str, ...]]

    def __init__(
        self, world: Annotated[str | Path | None, Holds("test.npy", or_null=True)] = None, **base: Any
    ) -> None:
        super().__init__(**base)
        # no folder given (in a Trainer of one's own): the default world's sets, rendered on first use
        self.world = (
            ensure_held_out(user_cache(None)[0], progress=partial(print, file=sys.stderr, flush=True))
            if world is None
            else Path(world).expanduser()
        )
        self.sets = {part: self._held_out(part) for part in self.parts}
        self.choose_among(TEXTS, PROMPTS)

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of a set's images whose shape is known."""
        return np.flatnonzero(self.known.among(self.sets[part].shape))

    def stimulus(self, part: str, index: int) -> Stimulus:
        """One held-out image at its rendered size (enlarged bicubically for larger models), cached with its set."""
        load = partial(image, self.world, part, index)
        return Stimulus(image_id(part, index), load, "native", part=f"world/{part}")

    def _held_out(self, part: str) -> HeldOut:
        try:
            return held_out(self.world, part)
        except (OSError, ValueError) as error:  # absent, or not an array
            raise UserError(
                option_problem(
                    self.key, "world", f"cannot read the set {part} in {self.world} ({error}); delete the folder"
                )
            ) from error


def image_id(part: str, index: int) -> str:
    """Id of one held-out image, the same in every benchmark that uses it."""
    return f"world/{part}/{index:04d}"
