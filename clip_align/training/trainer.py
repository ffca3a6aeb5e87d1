# SPDX-License-Identifier: Apache-2.0
"""Our Trainer: Lightning's loop without its loggers, bars, signal handlers and collectives of every step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from clip_align.config import TrainerConfig
from clip_align.evaluation.encode import Context
from clip_align.models.sharding import sharded_units
from clip_align.training.checkpoint_writer import CheckpointWriter
from clip_align.training.launch_ranks import PATIENCE, RankLayout
from clip_align.training.layout_environment import LayoutEnvironment
from clip_align.training.sharded_strategy import ShardedStrategy

QUIET_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning")


def build_trainer(
    config: TrainerConfig,
    layout: RankLayout,
    model: nn.Module,
    max_steps: int,
    callbacks: Sequence[pl.Callback],
    writer: CheckpointWriter,
) -> pl.Trainer:
    """A Trainer for this rank; the process group, where there is one, has been joined.

    Args:
        config: precision and accumulation.
        layout: this rank among the others.
        model: what is trained, looked at for BatchNorm.
        max_steps: optimizer steps of the whole run, those before a resume counted.
        callbacks: in the order in which they are called.
        writer: of checkpoint files.
    """
    _quiet()
    environment = LayoutEnvironment(layout) if layout.world > 1 else LightningEnvironment()
    scaling = _common_scale(config, layout)
    trainer = pl.Trainer(
        accelerator="gpu" if layout.gpu else "cpu",
        devices=1 if layout.one_gpu else layout.local_world,
        num_nodes=layout.nodes,
        # one rank needs no process group, and no copies of gradients in buckets
        strategy=_strategy(config, layout, model) if layout.world > 1 else "auto",
        precision=None if scaling else ("32-true" if config.precision == "32" else config.precision),
        max_steps=max_steps,
        max_epochs=-1,  # the loader is endless, its batches know their epoch
        accumulate_grad_batches=config.accumulate_grad_batches,
        callbacks=list(callbacks),
        plugins=[writer, environment, *scaling],
        use_distributed_sampler=False,  # batches are dealt to ranks by the sampling plan
        logger=False,  # the record is written by our own callbacks
        enable_checkpointing=False,  # Checkpoints saves, at borders of steps only
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,  # there is no validation loop
        inference_mode=False,  # its tensors could not be used in training afterwards
    )
    _without_signals(trainer)
    return trainer


def autocast(precision: str, device: str) -> Context:
    """What a model runs in at ``precision``, as the Trainer has it."""
    if precision == "32":
        return nullcontext
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    return partial(torch.autocast, device, dtype=dtype)


def compile_towers(model: Any, by_block: bool = False) -> None:
    """Compile both towers in place: names of weights stay, and so does everything between the towers and the loss.

    Args:
        model: an open_clip model.
        by_block: each block by itself, before it is sharded: its weights are gathered between two compiled blocks.
    """
    # open_clip's names: CLIP has a transformer where CustomTextCLIP has text
    units = sharded_units(model) if by_block else [getattr(model, n, None) for n in ("visual", "text", "transformer")]
    for unit in units:
        if isinstance(unit, nn.Module) and not isinstance(unit, nn.Embedding):  # a lookup has nothing to compile
            unit.compile()


def _strategy(config: TrainerConfig, layout: RankLayout, model: nn.Module) -> DDPStrategy:
    if config.kind == "fsdp":
        return ShardedStrategy("nccl" if layout.gpu else "gloo", PATIENCE, config.reshard_after_forward)
    running = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    return DDPStrategy(
        process_group_backend="nccl" if layout.gpu else "gloo",
        timeout=PATIENCE,
        find_unused_parameters=False,  # a walk through the graph every step; both towers are in every loss
        gradient_as_bucket_view=True,  # saves one copy of all gradients
        # not with backward passes that are not reduced
        static_graph=config.batches_per_step == 1,
        broadcast_buffers=running,  # statistics that change; text masks do not
    )


def _common_scale(config: TrainerConfig, layout: RankLayout) -> list[MixedPrecision]:
    """A scaler for parts of gradients: where one rank's overflow, all skip the step."""
    if config.kind != "fsdp" or config.precision != "16-mixed":
        return []
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    return [MixedPrecision("16-mixed", layout.device.type, ShardedGradScaler(layout.device.type))]


def _without_signals(trainer: Any) -> None:
    """Ours are set already, and Lightning's talk to other ranks from inside a handler and before every batch."""
    trainer._signal_connector.register_signal_handlers = lambda: None
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):  # a private method: other versions of Lightning may not have it
        loop._broadcast_sigterm_tensor = lambda: None


def _quiet() -> None:
    """Lightning's messages about devices, tips and loaders do not concern the user of this program."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)  # after the import, which sets it again
    for module in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=rf"{module}\..*")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")  # of its own functions
