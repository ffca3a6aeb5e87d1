# SPDX-License-Identifier: Apache-2.0
"""What a training step will take, tried out on a few made-up samples: all numbers from here are estimates."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from clip_align.config import KindConfig, ModelConfig
from clip_align.kinds import LOSSES
from clip_align.losses.base import Loss
from clip_align.models.activation_checkpointing import checkpoint_activations
from clip_align.models.build import ClipModel, build_model
from clip_align.models.sharding import fullest_part, most_gathered
from clip_align.training.free_memory import free_bytes
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.trainer import autocast

TRIALS_S = 5.0  # no further trial is begun after that time
TWICE = 4 / 3  # time of a step that encodes twice: a backward pass takes as long as two forward passes
TRIES = 2  # the shorter one counts: the machine may be busy with something else
BYTES_A_PARAMETER = 16  # float32 weights, gradients and AdamW's two moments
BYTES_SAVED = 12  # of these a checkpoint holds weights and moments
BYTES_TRIED = 8  # a trial needs weights and gradients
BYTES_GATHERED = 4  # float32 weights


@dataclass(frozen=True)
class Cost:
    """Estimates for one rank. Seconds of a step and of encoding one image; None where the model does not fit.

    parameters: number of trained ones. memory: bytes of weights, gradients, moments and activations of a whole
    batch. tried: samples in the trial. size_px: side of the model's input. held: of the parameters, on the fullest
    rank. gathered: bytes of weights that are whole there at a time, where they are divided; part of ``memory``.
    """

    parameters: int
    memory: int
    step_seconds: float | None
    image_seconds: float | None
    tried: int
    size_px: int
    held: int
    gathered: int = 0

    @property
    def trial(self) -> int:
        """Bytes that trying a step needs beside activations: of the whole model."""
        return self.parameters * BYTES_TRIED

    @property
    def checkpoint(self) -> int:
        """Bytes of one checkpoint."""
        return self.parameters * BYTES_SAVED


def cost(
    model: ModelConfig,
    loss: KindConfig,
    precision: str,
    batch_size: int,
    accumulate: int,
    grad_batches: int,
    layout: RankLayout,
    activation_checkpointing: bool = False,
    parts: int = 1,
    reshard_after_forward: bool = True,
) -> Cost:
    """Try a step of the configured model and loss, on torch's threads; UserError when they cannot be built.

    Args:
        model: what is built.
        loss: the loss of the step; parameters of its own are trained too.
        precision: of the trainer.
        batch_size: samples of one batch on one rank.
        accumulate: batches that are contrasted together, each encoded twice.
        grad_batches: such batches of one optimizer step.
        layout: this rank among the others; its device is tried.
        activation_checkpointing: of the trainer.
        parts: ranks that the model is divided over; 1: each holds all of it. A trial is always of the whole model.
        reshard_after_forward: of the trainer, where the model is divided.
    """
    words = [f"word{i}" for i in range(model.vocabulary)] if model.has_words else None
    shape = build_model(model, words, device="meta")
    if activation_checkpointing:
        checkpoint_activations(shape.model, shape.name)
    criterion: Loss = LOSSES.build(loss.kind, loss.options)
    states = _states(shape, criterion, parts, reshard_after_forward)
    device = layout.device
    if max(states.memory * (1 if layout.gpu else layout.local_world), states.trial) > free_bytes(device):
        return states
    clip = build_model(model, words)
    if activation_checkpointing:
        checkpoint_activations(clip.model, clip.name)
    clip.model.to(device)
    criterion.to(device)
    context = autocast(precision, device.type)
    trial = _trials(clip, criterion, context, device, batch_size)
    tried = trial[-1].samples
    return replace(
        states,
        memory=states.memory + round(trial[-1].kept * batch_size / tried),
        step_seconds=_extrapolated(trial, batch_size) * accumulate * grad_batches * (TWICE if accumulate > 1 else 1.0),
        image_seconds=min(_encoding(clip, context, device, tried) for _ in range(TRIES)) / tried,
        tried=tried,
    )


def untried(config: ModelConfig, loss: KindConfig, parts: int = 1, reshard_after_forward: bool = True) -> Cost:
    """What follows from the sizes of model and loss, where nothing can be tried: memory is without activations.

    Args:
        config: of the model.
        loss: parameters of its own are trained too.
        parts: ranks that the model is divided over; 1: each holds all of it.
        reshard_after_forward: of the trainer, where the model is divided.
    """
    words = [f"word{i}" for i in range(config.vocabulary)] if config.has_words else None
    shape = build_model(config, words, device="meta")
    return _states(shape, LOSSES.build(loss.kind, loss.options), parts, reshard_after_forward)


def _states(shape: ClipModel, criterion: nn.Module, parts: int, reshard_after_forward: bool) -> Cost:
    """The cost without a trial. A loss's parameters are whole on every rank."""
    of_loss = _parameters(criterion)
    held = fullest_part(shape.model, parts) + of_loss
    gathered = most_gathered(shape.model, reshard_after_forward) * BYTES_GATHERED if parts > 1 else 0
    return Cost(
        parameters=_parameters(shape.model) + of_loss,
        memory=held * BYTES_A_PARAMETER + gathered,
        step_seconds=None,
        image_seconds=None,
        tried=0,
        size_px=shape.image_size,
        held=held,
        gathered=gathered,
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class _Trial(NamedTuple):
    samples: int
    seconds: float
    kept: int  # bytes for the backward pass


def _trials(
    clip: ClipModel,
    criterion: Loss,
    context: Callable[[], AbstractContextManager[object]],
    device: torch.device,
    batch: int,
) -> list[_Trial]:
    """Steps of 2, 4, … samples, up to a whole batch or until they have taken long enough."""
    trials: list[_Trial] = []
    began = time.perf_counter()
    samples = min(2, batch)
    _step(clip, criterion, context, device, samples)  # the first one sets things up
    while True:
        seconds, kept = [], 0
        for _ in range(TRIES):
            start = time.perf_counter()
            kept = _step(clip, criterion, context, device, samples)
            seconds.append(time.perf_counter() - start)
        trials.append(_Trial(samples, min(seconds), kept))
        if samples == batch or time.perf_counter() - began > TRIALS_S:
            return trials
        samples = min(2 * samples, batch)


def _extrapolated(trials: list[_Trial], batch: int) -> float:
    """Seconds of a whole batch: the last trial, and for what it lacks the time that more samples took."""
    last = trials[-1]
    slope = last.seconds / last.samples
    if len(trials) > 1:
        before = trials[-2]
        slope = min(slope, max(0.0, (last.seconds - before.seconds) / (last.samples - before.samples)))
    return last.seconds + (batch - last.samples) * slope


def _step(
    clip: ClipModel,
    criterion: Loss,
    context: Callable[[], AbstractContextManager[object]],
    device: torch.device,
    n: int,
) -> int:
    """Forward and backward pass of ``n`` samples; bytes that were kept for the backward pass."""
    images = torch.zeros(n, 3, clip.image_size, clip.image_size, device=device)
    texts = clip.tokenizer(["a photo of a thing"] * n).to(device)
    with _kept(clip.model, criterion) as sizes, context():  # the loss too, as in a training step
        image, text = clip.model.encode_image(images), clip.model.encode_text(texts)  # type: ignore[operator]
        loss = criterion(image, text, clip.model.logit_scale)
    loss.backward()
    for module in (clip.model, criterion):
        module.zero_grad()  # gradients are counted with the weights, and their memory is free for the next trial
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return sum(sizes.values())


@contextlib.contextmanager
def _kept(*modules: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage of what autograd keeps meanwhile, the weights themselves left out."""
    weights = {p.untyped_storage().data_ptr() for module in modules for p in module.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def _encoding(
    clip: ClipModel, context: Callable[[], AbstractContextManager[object]], device: torch.device, n: int
) -> float:
    """Seconds for encoding ``n`` images without gradients."""
    images = torch.zeros(n, 3, clip.image_size, clip.image_size, device=device)
    clip.model.eval()  # all tokens are encoded, also where training drops some
    with torch.no_grad(), context():
        start = time.perf_counter()
        clip.model.encode_image(images)  # type: ignore[operator]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start
