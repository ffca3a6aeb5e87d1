# SPDX-License-Identifier: Apache-2.0
"""A vision transformer of open_clip's that takes the batches of synthetic.py, and a run's options that concern it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import open_clip
from train_synthetic import EACH

from clip_align.config import Config, TrainerConfig
from clip_align.models.activation_checkpointing import checkpoint_activations
from clip_align.models.patch_dropout import use_patch_dropout
from clip_align.training.trainer import compile_towers

VISION = {"image_size": 4, "patch_size": 1, "width": 16, "head_width": 8}  # 16 tokens
TEXT = {"context_length": 3, "vocab_size": 20, "width": 16, "heads": 2}


def small_clip(
    patch_dropout: float = 0.0,
    checkpointing: bool = False,
    compiled: bool = False,
    by_block: bool = False,
    layers: int = 2,
) -> Callable[[], open_clip.model.CLIP]:
    """Makes the model with these options, as a run does. Compiling takes long: then one layer will do."""

    def make() -> Any:
        blocks = {"layers": layers}
        model = open_clip.model.CLIP(8, {**VISION, **blocks, "patch_dropout": patch_dropout}, {**TEXT, **blocks})
        if patch_dropout:
            assert use_patch_dropout(model, patch_dropout)
        if checkpointing:
            checkpoint_activations(model, "small")
        if compiled:
            compile_towers(model, by_block)
        return model

    return make


def config(**trainer: Any) -> Config:
    """Every loss is recorded."""
    return replace(EACH, trainer=TrainerConfig(**{"kind": "cpu", "log_every_n_steps": 1, **trainer}))
