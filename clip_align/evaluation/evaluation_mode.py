# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model without side effects on training: modes, gradients and random states are restored."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def same_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Restore the random states of Python, NumPy, torch and the device on exit."""
    python, legacy, host = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # torch.cuda, torch.mps, …; the CPU's state is saved above
    backend: Any = getattr(torch, device.type) if device is not None and device.type not in {"cpu", "meta"} else None
    on_device = backend.get_rng_state(device) if backend is not None else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(host)
        if backend is not None:
            backend.set_rng_state(on_device, device)


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
