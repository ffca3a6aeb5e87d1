# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing: the blocks of both towers keep their inputs only, and run again in the backward pass."""

from __future__ import annotations

from typing import Any

from clip_align import open_clip_names
from clip_align.errors import Problem, UserError


def checkpoint_activations(model: Any, name: str) -> None:
    """Switch it on, in place; UserError where the image tower cannot do it.

    Args:
        model: an open_clip model.
        name: as messages have it.

    Values and gradients stay what they are, dropout draws the same numbers again.
    """
    visual = getattr(model, "visual", None)
    trunk = getattr(visual, "trunk", None)  # of open_clip's wrapper around timm's towers, which ignores a refusal
    if trunk is None and not hasattr(visual, "transformer"):
        raise UserError(_cannot(name))
    if trunk is not None:
        try:
            trunk.set_grad_checkpointing(True)
        except (AssertionError, AttributeError, NotImplementedError) as error:
            raise UserError(_cannot(name)) from error
    model.set_grad_checkpointing(True)


def _cannot(name: str) -> Problem:
    return Problem("trainer.activation_checkpointing", open_clip_names.no_blocks(name))
