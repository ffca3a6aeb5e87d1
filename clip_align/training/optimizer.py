# SPDX-License-Identifier: Apache-2.0
"""AdamW, its parameter groups and the learning rate over the run."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from clip_align.config import OptimizerConfig

LOGIT_SCALE = "logit_scale"
BIAS = "bias"  # logit_bias too, and the tables of relative position biases (Swin's have two dimensions)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters with and without weight decay: open_clip's two groups, for every model built offline.

    Matrices and kernels decay; gains, biases, single embeddings (fewer than two dimensions) and the loss's own
    scalars do not, whatever shape they have. The name that counts is the parameter's own, not its module's:
    open_clip looks for "ln" and "bn" anywhere in the path, which would also hit a module that happens to hold them.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = name.rpartition(".")[2]
            keep = parameter.ndim < 2 or own == LOGIT_SCALE or BIAS in own
            (free if keep else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def adamw(model: nn.Module, config: OptimizerConfig, fused: bool) -> AdamW:
    """AdamW over the trainable parameters, in two groups.

    Args:
        model: its parameters have to be on their device.
        config: rate, betas, eps and weight decay.
        fused: one kernel for all; False under a gradient scaler: clipping would see scaled gradients.
    """
    groups = parameter_groups(model, config.weight_decay)
    devices = {p.device.type for p in model.parameters()}
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused and devices <= {"cpu", "cuda"})


def schedule(config: OptimizerConfig, steps: int) -> Callable[[int], float]:
    """Factor of the learning rate for the optimizer step that follows ``done`` steps, in (0, 1].

    Linear warm-up over ``warmup_steps``, then half a cosine down to 0 after ``steps``, or constant.
    """
    warmup, cosine = config.warmup_steps, config.schedule == "cosine"

    def factor(done: int) -> float:
        if done < warmup:
            return (done + 1) / warmup  # the first step moves the weights already
        if not cosine:
            return 1.0
        fraction = min(1.0, (done - warmup) / max(1, steps - warmup))
        return 0.5 * (1.0 + math.cos(math.pi * fraction))

    return factor


def scheduler(optimizer: AdamW, config: OptimizerConfig, steps: int) -> LambdaLR:
    """The schedule as torch has it. Its state holds no function, so a resumed run may have another length.

    Args:
        optimizer: whose rate it sets.
        config: shape and warm-up.
        steps: optimizer steps of the whole run.
    """
    return LambdaLR(optimizer, schedule(config, steps))  # a function: a callable object would land in the state
