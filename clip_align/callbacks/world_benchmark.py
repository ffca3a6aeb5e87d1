# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the embedded world share: its held-out images, its classes by prompts, their decisions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.callbacks.known_classes import KnownClasses, known_classes
from clip_align.data.world.captions import PROMPTS, with_article
from clip_align.data.world.held_out import HeldOut, held_out, image
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.shards import ensure_held_out
from clip_align.errors import UserError
from clip_align.runs.folder import user_cache
from clip_align.structure import Holds

CLASSES = len(SHAPES)
TEXTS = {name: with_article(name) for name in SHAPES}  # as the world's captions say them


class WorldBenchmark(PerceptualCallback):
    """Decisions about held-out images of the world among its 16 shapes, by prompts averaged over templates.

    A subclass names the sets it reads (``parts``) and its scores (`scores_for`); `rows` are the images it may ask
    about, those of classes whose words the model knows.

    Args:
        world: folder of the held-out sets; None: the default world's, made in the user's cache.
        base: as for every callback.
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
        self.world = _world_folder(world)
        self.sets = {part: self._held_out(part) for part in self.parts}
        self.known = known_classes(TEXTS, PROMPTS)  # until a model says what it knows
        self.scores = self.scores_for(self.known)

    def adapt(self, model: ModelInfo) -> str | None:
        """Ask about the shapes whose names, and with the templates whose words, the tokenizer knows."""
        known = known_classes(TEXTS, PROMPTS, model)
        self.known = known if known.reason is None else known_classes(TEXTS, PROMPTS)
        self.scores = self.scores_for(self.known)
        return known.reason

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """The scores, with chance and unit for the classes that the model knows."""
        raise NotImplementedError(f"{type(self).__name__} must say its scores_for()")

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """The shapes that the model knows."""
        return self.known.prompts

    def rows(self, part: str) -> NDArray[np.intp]:
        """Numbers of a set's images whose shape the model knows."""
        return np.flatnonzero(self.known.among(self.sets[part].shape))

    def stimulus(self, part: str, index: int) -> Stimulus:
        """One held-out image, seen as it was rendered (enlarged bicubically for larger models), kept with its set."""
        load = partial(image, self.world, part, index)
        return Stimulus(image_id(part, index), load, "native", part=f"world/{part}")

    def decisions(self, features: Features, ids: Sequence[str]) -> NDArray[np.signedinteger]:
        """Decisions about stimuli [N] as numbers of shapes; -1 for none."""
        return self.known.decisions(features, ids)

    def _held_out(self, part: str) -> HeldOut:
        try:
            return held_out(self.world, part)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.key}: cannot read the set {part} in {self.world} ({error}); delete the folder"
            ) from error


def image_id(part: str, index: int) -> str:
    """Name of one held-out image, the same in every benchmark that shows it."""
    return f"world/{part}/{index:04d}"


def _world_folder(world: str | Path | None) -> Path:
    if world is None:
        return ensure_held_out(user_cache(None)[0], progress=partial(print, file=sys.stderr, flush=True))
    return Path(world).expanduser()
