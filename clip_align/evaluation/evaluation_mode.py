# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model without side effects on training: modes, gradients and random states are restored."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from clip_align.evaluation.random_state import RandomState


@contextmanager
def same_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Restore the random states of Python, NumPy, torch and the device on exit."""
    state = RandomState(device)
    try:
        yield
    finally:
        state.restore()


def _uncompiled() -> AbstractContextManager[Any]:
    if "torch._dynamo" not in sys.modules:  # nothing is compiled; importing it takes seconds
        return nullcontext()
    # the compiled graph stays, for the next training step
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode, without gradients; everything is restored on exit.

    ``no_grad`` and not ``inference_mode``, since training may use tensors that the model caches during evaluation.
    The mode of each submodule is restored separately, as some may be frozen in evaluation mode by intent.
    A compiled model runs uncompiled: another batch size than training's would make torch.compile generalize the graph
    to dynamic shapes, and so change training.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    with same_random_state(device), torch.no_grad(), _uncompiled():
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:  # not train(), which would set all submodules alike
                module.training = mode


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Set the parameters' gradients to None and restore the same tensors on exit."""
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:  # else a backward pass inside would add to training's accumulated gradients
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
