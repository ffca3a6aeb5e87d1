# SPDX-License-Identifier: Apache-2.0
"""open_clip_train's own loop, optimizer and webdataset pipeline, driven with our model and options.

open_clip_train (open_clip_torch 3.3.0) is written for webdataset up to 0.2.86: later ones put an empty mapping behind
each shard, over which it stumbles (``KeyError: 'fname'``). That is switched off here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from clip_align.config import DataConfig, OptimizerConfig, Source
from clip_align.kinds import SOURCES

NAME = "open_clip_train"
LOG_EVERY = 100  # steps: its default
PRECISION = {"32": "fp32", "bf16-mixed": "amp_bf16"}
SCALE = (0.9, 1.0)  # of its random crops, by default


def train(
    model: Any,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    optimizer: OptimizerConfig,
    precision: str,
    device: str,
    accumulate: int = 1,
) -> None:
    """``train_one_epoch`` over ``steps`` steps.

    Args:
        model: an open_clip model; its weights change.
        batches: normalized images float [B, 3, S, S] and token ids [B, L], at least those of ``steps``.
        steps: of the optimizer.
        optimizer: rate, moments, decay, warm-up and clipping, the same for both sides.
        precision: 32 or bf16-mixed.
        device: that the model is on.
        accumulate: batches that are contrasted together (``--accum-freq``).
    """
    from open_clip import ClipLoss
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    adamw = _optimizer(model, optimizer)
    args = SimpleNamespace(
        device=device, precision=PRECISION[precision], distill=False, accum_freq=accumulate, skip_scheduler=False,
        horovod=False, grad_clip_norm=optimizer.clip_norm, log_every_n_steps=LOG_EVERY, wandb=False, rank=0,
        world_size=1, batch_size=0,
    )  # fmt: skip
    loader = _Epoch(batches, steps * accumulate, args)
    model.output_dict = True  # its loop reads outputs by name
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    scheduler = cosine_lr(adamw, optimizer.lr, optimizer.warmup_steps, 1_000_000)
    train_one_epoch(model, data, ClipLoss(cache_labels=True), 0, adamw, None, scheduler, None, args)


def _optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """As ``open_clip_train.main`` makes it: its rule for weight decay, torch's default implementation."""
    free: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            excluded = parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
            (free if excluded else decayed).append(parameter)
    groups = [{"params": free, "weight_decay": 0.0}, {"params": decayed, "weight_decay": config.weight_decay}]
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


class _Epoch:
    """What the loop needs of a loader: an iterator, and two numbers."""

    def __init__(self, batches: Iterable[Any], count: int, args: SimpleNamespace) -> None:
        self._batches, self._args = batches, args
        self.num_batches = self.num_samples = count

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._batches):
            if number >= self.num_batches:
                return
            self._args.batch_size = len(batch[0])
            yield batch


def preprocessing(size: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Any], torch.Tensor]:
    """Its transform for training: random crop, bicubic on Pillow images, then normalized float [3, size, size]."""
    from open_clip.transform import image_transform

    transform: Callable[[Any], torch.Tensor] = image_transform(
        size, is_train=True, mean=tuple(mean), std=tuple(std), aug_cfg={"scale": SCALE}
    )
    return transform


def loader(
    shards: Sequence[Path],
    transform: Callable[[Any], torch.Tensor],
    tokenizer: Callable[[list[str]], torch.Tensor],
    batch: int,
    batches: int,
    workers: int,
    seed: int,
) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """Its webdataset loader, for one epoch.

    Args:
        shards: tars, at least as many as workers.
        transform: see `preprocessing`.
        tokenizer: texts to token ids.
        batch: samples a batch.
        batches: of the epoch; the shards are read again where they have fewer.
        workers: processes that read; 0: this one.
        seed: of the order of shards.
    """
    data = _data_module()
    data.tar_file_expander = functools.partial(_original(data.tar_file_expander), eof_value=None)
    args = SimpleNamespace(
        train_data="::".join(map(str, shards)), train_num_samples=batches * batch, dataset_resampled=False,
        train_data_upsampling_factors=None, seed=seed, workers=workers, world_size=1, batch_size=batch,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of webdataset, about options that open_clip_train does not give
        # one caption after the other, as its pipeline calls a tokenizer
        info = data.get_wds_dataset(args, transform, True, tokenizer=lambda text: tokenizer([text]))
    made: Iterable[tuple[torch.Tensor, torch.Tensor]] = info.dataloader
    return made


def our_data(folder: Path, batch: int, workers: int) -> DataConfig:
    """Our own source of shards with the work of its pipeline: no image is flipped or kept, and crops are as large.

    Args:
        folder: with the shards.
        batch: samples a batch.
        workers: processes that read; 0: this one.
    """
    options = {
        "shards": (Source(str(folder)),), "batch_size": batch, "workers": workers, "memory_mb": 0, "flip": False,
        "crop_scale": SCALE,
    }  # fmt: skip
    data: DataConfig = SOURCES.build("webdataset", options)
    return data


def _data_module() -> Any:
    """``open_clip_train.data``, which needs pandas at its import, and then for csv files alone."""
    if importlib.util.find_spec("pandas") is not None:
        return importlib.import_module("open_clip_train.data")
    sys.modules["pandas"] = ModuleType("pandas")
    try:
        return importlib.import_module("open_clip_train.data")
    finally:
        del sys.modules["pandas"]  # others look whether it can be imported


def _original(expander: Any) -> Any:
    return expander.func if isinstance(expander, functools.partial) else expander
