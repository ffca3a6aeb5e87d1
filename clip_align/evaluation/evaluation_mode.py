# SPDX-License-Identifier: Apache-2.0
"""Look at a model without leaving a trace: training continues as if nobody had looked."""

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
    """Put the random states of python, numpy, torch and the device back as found."""
    python, legacy, host = random.getstate(), np.random.get_state(), torch.get_rng_state()
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
    if "torch._dynamo" not in sys.modules:  # nothing is compiled; asking would import it, which takes seconds
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode, without gradients; everything is put back.

    ``no_grad`` and not ``inference_mode``: what a model caches while it is looked at may be needed
    by training. Each submodule's own mode is restored, as some may be frozen in eval by intent.
    A compiled model runs uncompiled: other batch sizes than training's would make its graph one of any size, and so
    change training.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    with same_random_state(device), torch.no_grad(), _uncompiled():
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """The parameters' gradients are set aside and put back as the same tensors, whatever is differentiated inside."""
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient
