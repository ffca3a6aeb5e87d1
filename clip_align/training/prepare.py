# SPDX-License-Identifier: Apache-2.0
"""What a rank needs before its first step: data, model, callbacks. Everything that can be refused is refused here."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.config import Config
from clip_align.data.training import TrainingData, training_data
from clip_align.evaluation.schedule import due
from clip_align.evaluation.subject import Subject
from clip_align.models.build import ClipModel, build_model
from clip_align.training.launch import Place


@dataclass(frozen=True, eq=False)
class Ready:
    """All that training is made of, on this rank. words: of the tiny model's tokenizer, else None."""

    data: TrainingData
    clip: ClipModel
    callbacks: Sequence[PerceptualCallback]
    words: tuple[str, ...] | None
    cache: Path

    @property
    def subject(self) -> Subject:
        """The model as benchmarks ask it."""
        clip = self.clip
        return Subject(clip.model, clip.image_size, clip.mean, clip.std, clip.tokenizer)


def prepare(config: Config, here: Place, words: Sequence[str] | None, cache: Path, say: Callable[[str], None]) -> Ready:
    """Read, check and build everything; UserError with what is wrong. ``words``: of the run that goes on."""
    use_threads(config, here)
    data = training_data(config, here.rank, here.world, cache, words, say)
    seed_everything(config.seed)
    clip = build_model(config.model, data.words)
    callbacks = build_callbacks(config.callbacks, {"world": data.world} if data.world else {})
    return Ready(data, clip, callbacks, data.words, cache)


def use_threads(config: Config, here: Place) -> None:
    """Share the cores between the ranks of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.trainer.threads or max(1, cores // here.local_world))


def seed_everything(seed: int) -> None:
    """Python, numpy and torch, host and devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # libraries draw from the global generator
    torch.manual_seed(seed)


def event_steps(callbacks: Sequence[PerceptualCallback], early: Sequence[int], max_steps: int) -> list[int]:
    """The steps at which any callback is due, step 0 and the last included."""
    steps = {0, max_steps, *early, *(s for c in callbacks for s in range(0, max_steps, c.every_n_steps))}
    return sorted(
        s
        for s in steps
        if s <= max_steps and any(due(s, c.every_n_steps, c.family, early, s == max_steps) for c in callbacks)
    )
